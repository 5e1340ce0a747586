"""The keeper: the parent of every job. A process of its own; of ours it imports only `linux` and `formats`."""
