"""Options of the form K=V."""

from collections.abc import Sequence

from jobworker_cli.declare import UsageError


def pairs(option: str, texts: Sequence[str] | None) -> dict[str, str]:
    """Return the pairs of `K=V` options; raise UsageError."""
    result = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"{option}: {text!r}; expected K=V")
        result[name] = value
    return result
