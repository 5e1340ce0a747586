"""The identity of a caller and its rights: logins, their throttle, sessions, rights, the audit log."""
