"""The formats that keeper, pump and agent share on disk; imports the standard library only."""
