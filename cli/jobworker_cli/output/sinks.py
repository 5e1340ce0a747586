"""Write the output of a job: unchanged into a pipe, sanitised onto a terminal."""

import asyncio
import sys
from typing import TextIO

from jobworker_cli.output.sanitise import Sanitiser
from jobworker_cli.output.write import put


class Sink:
    """Writes one stream of a job: unchanged, or on a terminal sanitised unless `raw`."""

    def __init__(self, file: TextIO | None, *, raw: bool = False) -> None:
        self._file = file
        self._sanitiser = Sanitiser() if file is not None and file.isatty() and not raw else None

    @property
    def sanitises(self) -> bool:
        return self._sanitiser is not None

    async def write(self, data: bytes) -> None:
        """Write in a thread: a reader that has stopped must not block Ctrl-C."""
        if self._sanitiser is not None:
            data = self._sanitiser.feed(data)
        await asyncio.to_thread(put, self._file, data)

    def finish(self) -> None:
        """Write what was held back, and reset the colours of the job."""
        if self._sanitiser is not None:
            put(self._file, self._sanitiser.finish())


def job_sinks(*, raw: bool) -> dict[str, Sink]:
    """Return the sinks of a job's streams: stdout to stdout, stderr to stderr."""
    return {"stdout": Sink(sys.stdout, raw=raw), "stderr": Sink(sys.stderr, raw=raw)}
