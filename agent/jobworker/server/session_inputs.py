"""What a session does about the inputs of jobs: bytes under way, lines of the audit log, inputs to end with it."""

import logging
from collections.abc import Callable

from jobworker.auth.audit_input import InputAudit
from jobworker.errors import NotTheWriter, RateLimited, RpcError
from jobworker.model import Principal
from jobworker.server.services import Services
from jobworker.tasks import Background

log = logging.getLogger(__name__)

MAX_WAITING_BYTES = 4 << 20  # of one connection, in writes that wait for jobs to read


class SessionInputs:
    """One session's writes."""

    def __init__(self, services: Services, address: str) -> None:
        self.audit = InputAudit(services.audit, address)
        # Jobs whose input ends when the connection does.
        self.to_close: set[str] = set()
        self._inputs = services.jobs.inputs
        # By job: the lease of the claim that ends with the connection.
        self._claims: dict[str, int] = {}
        self._left = False  # the connection has ended
        # Bytes in writes that are not answered.
        self._waiting = 0
        # Closes inputs after the end of the connection.
        self._tasks = Background()

    def reserve(self, size: int) -> Callable[[], None]:
        """Count the bytes of a write; return what ends that. Raise RateLimited if too many wait."""
        if self._waiting and self._waiting + size > MAX_WAITING_BYTES:
            text = f"{self._waiting} bytes of input wait on this connection for jobs to read"
            raise RateLimited(f"{text}; expected at most {MAX_WAITING_BYTES}", retry_after=0.1)
        self._waiting += size

        def done() -> None:
            self._waiting -= size

        return done

    def leave(self, principal: Principal, *, agent_left: bool) -> None:
        """Audit what was written, and end the inputs that the caller wanted to end with its connection.

        `agent_left`: the agent has closed the connection, and the caller comes back to the next one.
        """
        self.audit.settle(principal)
        self._left = True
        for job, lease in self._claims.items():
            self._release(job, lease, principal)
        if not agent_left:
            for job in self.to_close:
                self._tasks.spawn(self._close(job))

    def claimed(self, job: str, lease: int, principal: Principal) -> None:
        """Have a claim end with the connection, which may have ended already."""
        self._claims[job] = lease
        if self._left:
            self._release(job, lease, principal)

    def _release(self, job: str, lease: int, principal: Principal) -> None:
        try:
            self._inputs.release(job, lease, principal.name)
        except NotTheWriter:
            pass  # another client has taken over, or it was released

    async def _close(self, job: str) -> None:
        try:
            await self._inputs.close(job, None)
        except RpcError as error:
            log.info("job %s: its input was not closed: %s", job, error.message)
