"""The files of the page, read once: an upgrade on disk cannot mix versions in a running agent."""

import gzip
import hashlib
from functools import cached_property
from pathlib import Path

STATIC = Path(__file__).parent / "static"
# By the end of the name; files with another end, such as licences, are not served.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",
}
MIN_GZIP_BYTES = 512  # smaller files fit in one packet anyway


class File:
    """One file: its bytes and what is derived from them."""

    def __init__(self, content: bytes, type_: str) -> None:
        self.content = content
        self.type = type_
        self.etag = hashlib.sha256(content).hexdigest()[:20]

    @cached_property
    def compressed(self) -> bytes | None:
        """The bytes compressed by gzip, at the first request for them; None if that makes them no smaller."""
        if len(self.content) < MIN_GZIP_BYTES or self.type.startswith("image/png"):
            return None
        shorter = gzip.compress(self.content, mtime=0)
        return shorter if len(shorter) < len(self.content) else None


def read(folder: Path = STATIC) -> dict[str, File]:
    """Return the files in a folder and those below it, by their path with slashes and without one at its start."""
    paths = (path for path in folder.rglob("*") if path.suffix in TYPES and path.is_file())
    return {path.relative_to(folder).as_posix(): File(path.read_bytes(), TYPES[path.suffix]) for path in paths}
