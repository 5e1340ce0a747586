"""System calls, /proc and cgroups, for the keeper, the pump and the agent; imports the standard library only."""
