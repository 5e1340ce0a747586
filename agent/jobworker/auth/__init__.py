"""Admission control: authenticate callers, authorize their calls, throttle failed logins, audit."""
