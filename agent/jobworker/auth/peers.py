"""The callers on the Unix socket: the kernel names the user of each, and the configuration its roles."""

import os
import pwd
import socket
import struct
from collections.abc import Collection, Mapping, Sequence

from jobworker.errors import StartError, Unauthenticated
from jobworker.interfaces import Grant
from jobworker.model import Principal

PROVIDER = "unix"  # of these principals; no plugin may have the name
LOCAL = "local"  # the name of the agent's own user, and of root
LOCAL_GRANTS = (Grant(look="all", control="all", create=True, admin=True),)
_UCRED = struct.Struct("3i")  # struct ucred: pid, uid, gid


class Peers:
    """The principals of the users of this host that may use the Unix socket.

    The agent's own user is an admin, as root is: both can do all that the agent can anyway.
    """

    def __init__(self, users: Mapping[str, Sequence[str]], roles: Collection[str]) -> None:
        """`users` has the roles by user name or uid; `roles` are all that exist. Raises StartError."""
        # By uid. They are looked up now: a login must not wait for a user directory.
        self._principals: dict[int, Principal] = {}
        for name, given in users.items():
            if unknown := [role for role in given if role not in roles]:
                raise StartError(f"unix.users.{name}: {unknown}; expected some of {', '.join(sorted(roles))}")
            uid = _uid(name)
            if user_name(uid) == LOCAL:
                raise StartError(f"unix.users.{name}: {LOCAL} is the name of the agent's own user; expected another")
            self._principals[uid] = Principal(user_name(uid), PROVIDER, list(given))
        local = Principal(LOCAL, PROVIDER, ["admin"])
        self._principals |= {0: local, os.geteuid(): local}

    def admit(self, uid: int) -> Principal:
        """Return the principal of a user; raise Unauthenticated for one that has none."""
        principal = self._principals.get(uid)
        if principal is None:
            raise Unauthenticated(f"uid {uid} may not use this socket; expected one of unix.users")
        return principal

    def is_local_admin(self, uid: int) -> bool:
        """Whether this is the agent's own user, or root: it has room reserved for it."""
        return uid in (0, os.geteuid())

    def grants(self, principal: Principal) -> Sequence[Grant] | None:
        """Return the grants of the local admin, which no authorizer that is broken can take; None: ask them."""
        return LOCAL_GRANTS if principal.provider == PROVIDER and principal.name == LOCAL else None

    def knows(self, principal: Principal) -> bool:
        """Whether a user of this host is this principal, with these roles."""
        return any((each.name, each.roles) == (principal.name, principal.roles) for each in self._principals.values())


def _uid(name: str) -> int:
    """Return the uid of a user that is named or given by number; raise StartError."""
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise StartError(f"unix.users.{name}: there is no such user; expected one of this host, or a uid") from None


def user_name(uid: int) -> str:
    """Return the name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def uid_of(sock: socket.socket) -> int:
    """Return the uid that the process at the other end of a Unix socket had when it connected."""
    _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(uid)
