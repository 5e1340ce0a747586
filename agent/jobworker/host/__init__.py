"""Keeper and pump, their formats on disk, and the agent's end of them."""
