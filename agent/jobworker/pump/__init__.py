"""The pump: moves the output of jobs to their logs. A process of its own; it imports only `linux` and `formats`."""
