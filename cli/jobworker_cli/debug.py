"""`jw --debug`: print each message to and from the agent to stderr, without what is secret in it."""

import json
import os
from typing import Any

from jobworker.client import trace
from jobworker_cli import output

SECRET = frozenset({"token", "password", "secret", "authorization", "ticket", "session"})
CONTENT = frozenset({"data", "bytes"})  # of logs and of input: only their length is shown
HIDDEN = "…"
MAX_SHOWN = 4000  # characters of a message


def begin(*secrets: str | None) -> None:
    """Print messages from now on; these secrets are hidden wherever they are."""
    os.environ["JW_DEBUG"] = "1"
    known = [secret for secret in (*secrets, os.environ.get("JW_TOKEN")) if secret]

    def report(direction: str, message: str | bytes) -> None:
        text = shown(message)
        for secret in known:
            text = text.replace(secret, HIDDEN)
        more = f" and {len(text) - MAX_SHOWN} more" if len(text) > MAX_SHOWN else ""
        output.note(f"{direction}: {text[:MAX_SHOWN]}{more}")

    trace.report = report


def shown(message: str | bytes) -> str:
    """Return a message as text, without secrets, values of variables, output and input."""
    head, data = (message, b"") if isinstance(message, str) else _parts(message)
    try:
        text = json.dumps(_masked(json.loads(head)), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        text = f"{len(head)} characters that are not JSON"
    return text + (f" and {len(data)} bytes" if data else "")


def _parts(message: bytes) -> tuple[str, bytes]:
    """Return the JSON of a message, and the data after it in a binary frame."""
    head, _, data = message.partition(b"\n")
    return head.decode(errors="replace"), data


def _masked(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        if name in ("env", "secrets", "secret_files"):
            return dict.fromkeys(value, HIDDEN)
        return {
            key: HIDDEN if key.lower() in SECRET and inner else _masked(inner, key) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return f"{len(value)} characters" if name in CONTENT and isinstance(value, str) else value
