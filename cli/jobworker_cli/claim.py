"""The claim to write to a job, over lost connections: a claim ends with its connection, and is made again."""

from jobworker.client import Client, JobInput
from jobworker.errors import ConnectionFailed, JobworkerError, NotTheWriter
from jobworker_cli import output


class Claim:
    """Types into a job as its one writer. `target` is None while another client writes."""

    def __init__(self, client: Client, job: str, *, only_sizes: bool = False) -> None:
        """`only_sizes`: it types nothing, and gives the terminal our size as long as no client has claimed it."""
        self._only_sizes = only_sizes
        self._client = client
        self._job = job
        self.target: JobInput | None = None

    async def begin(self, *, steal: bool) -> None:
        """Claim the input; if another client has it, report that, and only watch. Raises JobworkerError."""
        while True:
            try:
                self.target = await self._client.claim_input(self._job, steal=steal)
                return
            except ConnectionFailed:
                await self._client.reconnect()
            except NotTheWriter as error:
                who = error.data.get("writer") or "another client"
                output.note(f"{who} writes to job {self._job}: watching only; --steal takes over, Ctrl-C leaves")
                return

    async def write(self, data: bytes) -> None:
        """Type; return when the agent has it, or another client has taken over. Raises StdinClosed."""
        while self.target is not None and data:
            begin = self.target.offset
            try:
                await self.target.write(data)
                await self.target.flush()
                return
            except NotTheWriter:  # by a lost connection, or because another client took over
                self.target = None
            except JobworkerError as error:
                if type(error) is not JobworkerError:
                    raise
                self.target = None  # the input has more than we have typed
            await self.begin(steal=False)
            # Bytes of ours that were accepted before are there; more than these means that another client wrote.
            end = begin + len(data) if self.target is None else self.target.offset
            data = data[end - begin :] if begin <= end <= begin + len(data) else b""

    async def resize(self, rows: int, cols: int) -> None:
        """Give the terminal another size, unless another client writes; raises JobworkerError if it has none."""
        if self.target is None and not self._only_sizes:
            return
        lease = {} if self.target is None else {"lease": self.target.lease}
        try:
            await self._client.call("job.resize", id=self._job, rows=rows, cols=cols, **lease)
        except NotTheWriter:
            pass  # the next key finds out

    @property
    def writes(self) -> bool:
        return self.target is not None
