"""What the agent asks of the host: keeper, journal, processes and files."""
