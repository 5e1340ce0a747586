"""Text that goes to execve or chdir, which need not be UTF-8: the strings of JSON hold nothing else."""

from typing import TypeAlias

from msgspec import Struct


class Base64(Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes in place of a string: `{"base64": "/w=="}`; `str` of it has those that are not UTF-8 as surrogates."""

    base64: bytes

    def __str__(self) -> str:
        return self.base64.decode(errors="surrogateescape")


Text: TypeAlias = str | Base64


def text_of(value: str | bytes) -> Text:
    """Return an argument, a value of a variable or a path as a spec has it: a string, or Base64 if it is not UTF-8.

    A string may be of `sys.argv`, `os.environ` or `os.fsdecode`, with surrogates.
    """
    data = value if isinstance(value, bytes) else value.encode(errors="surrogateescape")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Base64(data)
