"""The same figures for what people might use instead: task-spooler, supervisor, circus."""
