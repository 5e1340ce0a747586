"""Where the output of a job goes: untouched into a pipe, harmless onto a terminal."""

import asyncio
import sys
from typing import TextIO

from jobworker_cli.output.sanitise import Sanitiser
from jobworker_cli.output.write import put


class Sink:
    """Where one stream of a job goes: untouched, or on a terminal made harmless unless `raw`."""

    def __init__(self, file: TextIO | None, *, raw: bool = False) -> None:
        self._file = file
        self._sanitiser = Sanitiser() if file is not None and file.isatty() and not raw else None

    async def write(self, data: bytes) -> None:
        """Write in a thread: a reader who does not read must not keep Ctrl-C from being heard."""
        if self._sanitiser is not None:
            data = self._sanitiser.feed(data)
        await asyncio.to_thread(put, self._file, data)

    def finish(self) -> None:
        """Write what was held back, and end the colours of the job."""
        if self._sanitiser is not None:
            put(self._file, self._sanitiser.finish())


def job_sinks(*, raw: bool) -> dict[str, Sink]:
    """Return where the streams of a job go: stdout to stdout, stderr to stderr."""
    return {"stdout": Sink(sys.stdout, raw=raw), "stderr": Sink(sys.stderr, raw=raw)}
