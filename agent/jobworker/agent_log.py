"""The log of the agent: lines of text or of JSON on stderr, and its level, which may differ by subsystem.

No text that others choose can begin a line, or hide one: control characters are escaped.
"""

import logging
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from jobworker import request_ref
from jobworker.errors import InvalidSpec, JobworkerError
from jobworker.units import rfc3339

Level = Literal["debug", "info", "warning", "error"]

DEFAULT = "default"
# What has a level of its own: the packages of the agent that log, its libraries, and `plugin.NAME`.
PACKAGES = ("auth", "host", "jobs", "plugin", "server", "tls")
LIBRARIES = ("asyncio", "websockets")
PLUGIN = "plugin."  # begins the loggers of the plugins
PARENT = "jobworker"  # of the loggers of the agent
TEXT, JSON = "text", "json"
# The attributes of a record that are no fields of a message.
ATTRIBUTES = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
# Control characters and separators of lines: a tab stays. As JSON writes them.
_CONTROLS = (*range(9), *range(10, 0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
_ESCAPES = {code: f"\\u{code:04x}" for code in _CONTROLS} | {10: "\\n", 13: "\\r"}


def levels(value: Level | Mapping[str, Level], plugins: Sequence[str], key: str) -> dict[str, int]:
    """Return the levels by logger, "" for all others, of `agent.log_level`; raise InvalidSpec for an unknown one."""
    table = {DEFAULT: value} if isinstance(value, str) else {DEFAULT: "info", **value}
    known = {DEFAULT: ""}
    known |= {name: f"{PARENT}.{name}" for name in PACKAGES} | {name: name for name in LIBRARIES}
    known |= {f"{PLUGIN}{name}": f"{PLUGIN}{name}" for name in plugins}
    for name in table:
        if name not in known:
            expected = f"{', '.join((DEFAULT, *PACKAGES, *LIBRARIES))}, or plugin.NAME of an enabled plugin"
            raise InvalidSpec(f"{key}.{name[:80]}: unknown; expected {expected}")
    return {known[name]: logging.getLevelNamesMapping()[level.upper()] for name, level in table.items()}


def set_levels(by_logger: Mapping[str, int]) -> None:
    """Set the levels of these loggers; all others have that of the nearest one above."""
    for name in (*(f"{PARENT}.{package}" for package in PACKAGES), "asyncio"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    for name in [name for name in logging.root.manager.loggerDict if name.startswith(PLUGIN)]:
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.getLogger("websockets").setLevel(logging.WARNING)  # it logs each connection
    for name, level in by_logger.items():
        logging.getLogger(name).setLevel(level)


def set_up(kind: str, by_logger: Mapping[str, int]) -> None:
    """Log to stderr from now on. As JSON, what Python itself would print there is logged too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if kind == JSON else Lines())
    logging.root.handlers[:] = [handler]
    set_levels(by_logger)
    if kind == JSON:
        logging.captureWarnings(capture=True)
        sys.excepthook = _uncaught
        threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
        sys.unraisablehook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def report(error: JobworkerError) -> bool:
    """Log why the agent does not start if its log is JSON; return whether it is."""
    if not any(isinstance(handler.formatter, JsonLines) for handler in logging.root.handlers):
        return False
    logging.getLogger(PARENT).critical("%s", error.message, extra={"hint": error.hint} if error.hint else None)
    return True


def _uncaught(kind: Any, error: BaseException | None, trace: Any) -> None:
    logging.getLogger(PARENT).critical("an exception that nothing caught", exc_info=(kind, error, trace))  # type: ignore[arg-type]


class Lines(logging.Formatter):
    """Text: a line for each message, then its traceback if it has one."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        ref = request_ref.current()
        head = f"{seconds},{int(record.msecs):03d} {record.levelname} {record.name}{f' [{ref}]' if ref else ''}"
        line = f"{head}: {record.getMessage().translate(_ESCAPES)}"
        fields = _fields(record)
        line += "".join(f" {name}={value!s}".translate(_ESCAPES) for name, value in fields.items())
        return "\n  ".join([line, *_trace(record)])  # so that no text of an exception looks like a line of the log


class JsonLines(logging.Formatter):
    """One object a line: `time`, `level`, `logger`, `message`; `ref`, `fields` and `traceback` if there are any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": rfc3339(int(record.created * 1e9)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if ref := request_ref.current():
            line["ref"] = ref
        if fields := _fields(record):
            line["fields"] = fields
        if trace := _trace(record):
            line["traceback"] = "\n".join(trace)
        return _encoded(line)


def _encoded(line: dict[str, Any]) -> str:
    """Return JSON; strings that are no Unicode (of paths and arguments) have their bytes as `\\udcXX`."""
    try:
        return msgspec.json.encode(line, enc_hook=str).decode().translate(_ESCAPES)
    except (UnicodeEncodeError, TypeError, ValueError, msgspec.MsgspecError):
        plain = {name: str(value).encode(errors="backslashreplace").decode() for name, value in line.items()}
        return msgspec.json.encode(plain).decode().translate(_ESCAPES)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the `extra` of a message."""
    return {name: value for name, value in vars(record).items() if name not in ATTRIBUTES}


def _trace(record: logging.LogRecord) -> list[str]:
    lines = []
    if record.exc_info and record.exc_info[0] is not None:
        lines = "".join(traceback.format_exception(*record.exc_info)).splitlines()
    if record.stack_info:
        lines += record.stack_info.splitlines()
    return [line.translate(_ESCAPES) for line in lines]
