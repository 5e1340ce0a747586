"""What `jw` writes: data to stdout, everything else to stderr."""

from jobworker_cli.output.write import (
    DIM,
    ReaderGone,
    coloured,
    colours,
    emit,
    emit_json,
    error,
    hint,
    hint_text,
    json_text,
    note,
    paint,
    put,
    show,
    write_stderr,
    write_whole,
)

__all__ = [
    "DIM",
    "ReaderGone",
    "coloured",
    "colours",
    "emit",
    "emit_json",
    "error",
    "hint",
    "hint_text",
    "json_text",
    "note",
    "paint",
    "put",
    "show",
    "write_stderr",
    "write_whole",
]
