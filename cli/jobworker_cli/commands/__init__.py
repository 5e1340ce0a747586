"""The commands of `jw`, one module for each or for a few that belong together."""
