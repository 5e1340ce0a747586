"""The hook for messages to and from an agent, which `jw --debug` prints."""

from collections.abc import Callable

# Called with "sent" or "received" and each message, as text or as a binary frame; None: messages are not reported.
report: "Callable[[str, str | bytes], None] | None" = None
