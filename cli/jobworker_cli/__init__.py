"""The command line `jw`: a client of an agent, this host's or a remote one."""
