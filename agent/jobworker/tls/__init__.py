"""Create, load, watch and renew certificates, and make the TLS context of the listener."""
