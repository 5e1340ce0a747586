"""Certificates, and the TLS context of the listener."""
