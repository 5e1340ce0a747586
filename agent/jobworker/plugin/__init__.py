"""Load plugins and call them: each in a thread of its own, with a time limit."""
