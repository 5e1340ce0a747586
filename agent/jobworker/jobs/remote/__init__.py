"""Jobs that an executor runs: submit them, read their folders, ask their engines, and decide what became of them."""
