"""How many jobs one principal may have: that run, that wait to be started, and that are started in a second."""

import time
from collections.abc import Callable

from jobworker.config import Limits
from jobworker.errors import RateLimited
from jobworker.jobs.caps import Caps
from jobworker.jobs.created import spec_bytes
from jobworker.jobs.start_slots import StartSlots
from jobworker.jobs.table import JobTable
from jobworker.model import JobSpec
from jobworker.rate_limit import RateLimiter
from jobworker.units import bytes_text, size

ADMIN_SHARE = 8  # of so many jobs that the keeper can hold, one is for admins
AGAIN = "try again when one has ended"


class Quotas:
    """Each check raises RateLimited with the key of the limit that is reached."""

    def __init__(self, limits: Limits, table: JobTable, room: Callable[[], int]) -> None:
        """`room` returns how many jobs the keeper can hold, 0 if that is unknown."""
        self._limits = limits
        self._room = room
        self._created_bytes = size(limits.created_bytes_per_principal, "limits.created_bytes_per_principal")
        self._table = table
        self.slots = StartSlots(limits.starts_per_principal)
        # Starts by principal, for each rate that a role has.
        self._starts: dict[float, RateLimiter] = {}

    def check_running(self, owner: str, caps: Caps) -> None:
        """Raise if the owner has as many running jobs as it may have."""
        limit, key = self._limits.jobs_per_principal or None, "limits.jobs_per_principal"
        if caps.running is not None:
            limit, key = int(caps.running.value), caps.running.key
        if limit is None:
            return
        theirs = (active for active in self._table if active.record.job.owner == owner)
        if sum(active.starting or active.record.running for active in theirs) >= limit:
            text = f"{limit} jobs of {owner} run, and {key} allows no more at once"
            raise RateLimited(text, hint=AGAIN, retry_after=1)

    def check_room(self, owner: str, *, admin: bool) -> None:
        """Raise if the owner, no admin, has half of the jobs that the keeper can hold, or the rest is for admins.

        A job counts until its output is closed, which whatever holds it may delay for ever.
        """
        room = self._room()
        if admin or not room or self._table.size() < room // 4:  # almost always
            return
        held = [
            active.record.job.owner
            for active in self._table
            if (active.starting or active.record.active) and active.remote is None
        ]
        theirs = held.count(owner)
        if theirs >= room // 2 or len(held) >= room - max(1, room // ADMIN_SHARE):
            text = f"{theirs} jobs of {owner}, and {len(held)} in all, run or have ended with their output still open"
            limit = f"the limit of open files allows {room}, half of them for one principal"
            raise RateLimited(f"{text}; {limit}", hint=AGAIN, retry_after=1)

    def check_created(self, owner: str, caps: Caps, spec: JobSpec, instead: JobSpec | None = None) -> None:
        """Raise if one more created job with this spec, or a job with it `instead` of another, would be too many."""
        limit, key = self._limits.created_per_principal or None, "limits.created_per_principal"
        if caps.created is not None:
            limit, key = int(caps.created.value), caps.created.key
        count, used = self._table.created.counts[owner], self._table.created.bytes[owner]
        hint = "start or delete some: `jw ps --state created` lists them"
        if limit is not None and instead is None and count >= limit:
            text = f"{count} jobs of {owner} are created and not started, and {key} allows no more"
            raise RateLimited(text, hint=hint, retry_after=1)
        used += spec_bytes(spec) - (spec_bytes(instead) if instead is not None else 0)
        if self._created_bytes and used > self._created_bytes:
            text = f"the specs of the jobs of {owner} that are not started would have {bytes_text(used)}"
            allowed = f"limits.created_bytes_per_principal allows at most {bytes_text(self._created_bytes)}"
            raise RateLimited(f"{text}, and {allowed}", hint=hint, retry_after=1)

    def take_start(self, principal: str, caps: Caps) -> None:
        """Count a start; raise if the principal starts too many a second."""
        if caps.starts_per_second is None:
            return
        rate, now = caps.starts_per_second.value, time.monotonic()
        starts = self._starts.setdefault(rate, RateLimiter(rate, max(rate, 1.0)))
        if not starts.allows(principal, now):
            wait = round(starts.retry_after(principal, now), 3)
            text = f"{principal} starts more than {rate:g} jobs a second, the most by {caps.starts_per_second.key}"
            raise RateLimited(text, retry_after=wait)
