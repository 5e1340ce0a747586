"""The command line `jw`: a client of an agent, this host's or a remote one."""

LOCAL_CONTEXT = "local"  # the name of the context of this host's agent
