"""Write the output of a job: unchanged into a pipe, sanitised onto a terminal."""

import sys
from typing import TextIO

from jobworker_cli.output.sanitise import Sanitiser
from jobworker_cli.output.write import put


class Sink:
    """Writes one stream of a job: unchanged, or on a terminal sanitised unless `raw`."""

    def __init__(self, file: TextIO | None, *, raw: bool = False) -> None:
        self.file = file
        self._sanitiser = Sanitiser() if file is not None and file.isatty() and not raw else None

    @property
    def sanitises(self) -> bool:
        return self._sanitiser is not None

    def text(self, data: bytes) -> bytes:
        """Return what is written for this data."""
        return data if self._sanitiser is None else self._sanitiser.feed(data)

    def rest(self) -> bytes:
        """Return what was held back, and what resets the colours of the job."""
        return b"" if self._sanitiser is None else self._sanitiser.finish()

    async def write(self, data: bytes) -> None:
        """Write in a thread: a reader that has stopped must not block Ctrl-C."""
        from asyncio import to_thread  # slow to import, and what follows a log by the blocking client needs none

        await to_thread(put, self.file, self.text(data))


def job_sinks(*, raw: bool) -> dict[str, Sink]:
    """Return the sinks of a job's streams: stdout to stdout, stderr to stderr."""
    return {"stdout": Sink(sys.stdout, raw=raw), "stderr": Sink(sys.stderr, raw=raw)}
