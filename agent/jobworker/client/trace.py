"""Where messages to and from an agent are reported, if anything wants to see them."""

from collections.abc import Callable

# Called with "sent" or "received" and each message, as text or as a binary frame; None: nothing wants to see them.
report: "Callable[[str, str | bytes], None] | None" = None
