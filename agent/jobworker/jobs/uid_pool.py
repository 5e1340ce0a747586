"""A uid of its own for each principal, from a configured range: jobs of one cannot reach those of another.

The uids have no entry in /etc/passwd. One that was given is never given to another principal, as files that jobs left
belong to it.
"""

import asyncio
import grp
import json
import os
import pwd
from pathlib import Path

from jobworker.errors import PermissionDenied, StartError
from jobworker.jobs.identity import Identity
from jobworker.private import write_private

OWN_USER = "all jobs run as the agent's own user"


class UidPool:
    """The principals of one state folder and their uids."""

    def __init__(self, file: Path, uids: range) -> None:
        """Raise StartError if the file cannot be used: a uid might be given twice."""
        self._file = file
        self._range = uids
        self._given: dict[int, str] = {}  # the principal by uid, also of ranges that were configured before
        try:
            self._given = {int(uid): str(principal) for uid, principal in json.loads(file.read_bytes()).items()}
        except FileNotFoundError:
            pass
        except (ValueError, AttributeError) as error:
            text = f"{file}: cannot be read: {error}; expected JSON, uids and their principals"
            raise StartError(text, hint="restore it: without it a principal could get the uid of another") from error
        self._uids = {principal: uid for uid, principal in self._given.items() if uid in uids}
        self._giving = asyncio.Lock()  # one at a time is chosen and written

    def known(self, principal: str) -> int | None:
        """Return the uid of a principal, if it has one."""
        return self._uids.get(principal)

    async def identity(self, principal: str) -> Identity:
        """Return the user of a principal's jobs; give it a uid first if it has none. Raises PermissionDenied."""
        async with self._giving:
            if principal not in self._uids:
                uid = await asyncio.to_thread(self._choose, principal)
                self._given[uid] = principal
                self._uids[principal] = uid
        uid = self._uids[principal]
        return Identity(str(uid), uid, uid, [uid], "/", "/")

    def _choose(self, principal: str) -> int:
        """Return a uid that was never given and that no account has, once it is on disk. A directory may be slow."""
        for uid in self._range:
            if uid not in self._given and not _is_taken(uid):
                given = {**self._given, uid: principal}
                write_private(self._file, json.dumps(given, indent=1).encode())
                return uid
        text = f"users.pool: all {len(self._range)} uids are given to other principals"
        raise PermissionDenied(text, hint="ask an admin for a wider range, or name a user that you may use")


def warnings(uids: range | None, default: str, *, owners: bool) -> list[str]:
    """Return what the operator has to know of the users of jobs at the start.

    `owners`: roles with `control = "own"` count on jobs of one principal being out of reach of another's.
    """
    if os.geteuid() != 0:
        unused = ["users.pool has no effect: the agent does not run as root"] if uids else []
        return [f"{OWN_USER}: a caller who may create jobs can do all that the agent can", *unused]
    if uids:
        return []
    if not default:
        return ["jobs without a user run as root, which only admins may do: neither users.pool nor jobs.user is set"]
    if not owners:
        return []
    together = f"jobs of all principals run as {default}, and can signal, read and change each other"
    return [f'{together}, also with `control = "own"` in their roles; users.pool gives each principal a uid']


def _is_taken(uid: int) -> bool:
    """Whether an account or group of the host has this number."""
    for look_up in (pwd.getpwuid, grp.getgrgid):
        try:
            look_up(uid)
            return True
        except KeyError:
            pass
    return False
