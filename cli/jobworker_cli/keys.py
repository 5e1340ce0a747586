"""The keys that detach `jw` from a job, as those of docker: `ctrl-p,ctrl-q`."""

from jobworker_cli.declare import UsageError

DEFAULT = "ctrl-p,ctrl-q"
INTERRUPT = b"\x03"  # Ctrl-C, which leaves a job that we only watch
CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse(text: str | None) -> bytes:
    """Return the bytes of the keys; empty if the text is: then no key detaches. Raise UsageError."""
    text = DEFAULT if text is None else text
    keys = [_key(key.strip(), text) for key in text.split(",")] if text else []
    return bytes(keys)


def _key(key: str, text: str) -> int:
    if len(key) == 1 and key.isascii() and key.isprintable():
        return ord(key)
    name = key.lower().removeprefix("ctrl-")
    if key.lower().startswith("ctrl-") and len(name) == 1:
        if "a" <= name <= "z":
            return ord(name) - ord("a") + 1
        if name in CONTROL:
            return CONTROL[name]
    raise UsageError(f"--detach-keys: {text!r}; expected keys as {DEFAULT!r}: ctrl- and a letter, or a character")


class DetachKeys:
    """Finds the keys in what is typed. The begin of them is held back until another key follows."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = 0  # how many of the keys were typed last

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what the job is to get, and whether the keys are complete; what follows them is dropped."""
        if not self._keys:
            return data, False
        passed = bytearray()
        for byte in data:
            typed = self._keys[: self._held] + bytes([byte])
            self._held = next(
                length for length in range(len(typed), -1, -1) if self._keys.startswith(typed[len(typed) - length :])
            )
            passed += typed[: len(typed) - self._held]
            if self._held == len(self._keys):
                self._held = 0
                return bytes(passed), True
        return bytes(passed), False
