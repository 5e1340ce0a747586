"""Follow the log of a job over the blocking client, as plain data: the types of the protocol are slow to import."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from jobworker.client import wire
from jobworker.client.blocking.connection import Connection
from jobworker.client.blocking.inbox import Inbox
from jobworker.protocol import decode_data
from jobworker_cli import output
from jobworker_cli.describe import MISSING


class Chunk(NamedTuple):
    """As LogChunk of the client."""

    offset: int
    stream: str
    time: str
    data: bytes


class PlainLog:
    """The chunks of a log, also over lost connections; afterwards `end` has the params of `log.end`."""

    def __init__(self, connection: Connection, job: dict[str, Any], options: dict[str, Any]) -> None:
        self.job = job
        self.offset = 0  # of the next byte
        self.end: dict[str, Any] | None = None
        self._gaps = False  # whether bytes were missing
        self._connection = connection
        self._options = options  # of log.subscribe, without that for its begin
        self._inbox = Inbox("log.unsubscribe")

    def subscribe(self, **start: Any) -> None:
        """Call log.subscribe; `start` is where to begin (offset, tail, since)."""
        self.attach(self._connection.call("log.subscribe", id=self.job["id"], **self._options, **start))

    def attach(self, answer: Any) -> None:
        """Take the answer to a call that has begun a subscription: log.subscribe or job.run."""
        with wire.reading("log.subscribe"):
            self.offset = int(answer.get("offset", self.offset))
            self._connection.route(str(answer["subscription"]), self._inbox)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks until the log ends; raise what `reconnect` raises."""
        while self.end is None:
            notification = self._connection.next(self._inbox, self._resume)
            if notification is None:
                return
            with wire.reading("log.subscribe"):
                chunk = self._take(*notification)
            if chunk is not None:
                yield chunk

    @property
    def missing_code(self) -> int:
        """The exit code for what was missing in a log that was followed to its end."""
        return MISSING if self._gaps or (self.end is not None and self.end.get("truncated")) else 0

    def _resume(self) -> None:
        self.subscribe(offset=self.offset)

    def _take(self, method: str, params: dict[str, Any]) -> Chunk | None:
        if method == "log.data":
            data = params["bytes"] if "bytes" in params else decode_data(params["data"], params["encoding"])
            self.offset = params["offset"] + len(data)
            return Chunk(params["offset"], params["stream"], params["time"], data)
        if method == "log.end":
            self.end, self.offset = params, params["offset"]
        elif method == "log.gap":
            self._gaps, self.offset = True, params["to"]
            missing = params["to"] - params["from"]
            output.note(f"{missing} bytes of the output of job {params['job']} are missing: {params['reason']}")
        return None
