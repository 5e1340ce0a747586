"""What a terminal shows after some output: a model of it, without a terminal. Imports the standard library only."""

MAX_CELLS = 1 << 16  # rows times columns of the largest screen that the agent keeps
