"""System calls and /proc, with the standard library alone: for the keeper, the pump and the agent."""
