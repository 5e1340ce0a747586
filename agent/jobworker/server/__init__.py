"""The network side of the agent: TLS, sessions, authentication and one function per RPC method."""
