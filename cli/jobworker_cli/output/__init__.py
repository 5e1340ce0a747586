"""What `jw` writes: data to stdout, everything else to stderr."""

from jobworker_cli.output.write import (
    DIM,
    ReaderGone,
    close,
    coloured,
    complain,
    emit,
    emit_json,
    error,
    paint,
    put,
    say,
    show,
    suggest,
)

__all__ = [
    "DIM",
    "ReaderGone",
    "close",
    "coloured",
    "complain",
    "emit",
    "emit_json",
    "error",
    "paint",
    "put",
    "say",
    "show",
    "suggest",
]
