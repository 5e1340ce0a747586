"""`jw mcp`: the tools of an AI agent, over the client library. Only this package imports `mcp`, in `server.py`."""
