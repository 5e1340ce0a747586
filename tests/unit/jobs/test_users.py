"""Which principal may run jobs as which user: a pure function of principal, user and configuration."""

import pytest

from jobworker.errors import InvalidSpec, PermissionDenied
from jobworker.jobs.identity import Identity, look_up
from jobworker.jobs.plan import rlimit, umask
from jobworker.jobs.users import permit
from jobworker.model import Principal

ROOT = Identity("root", 0, 0, [0], "/root", "/root")
TOOR = Identity("toor", 0, 100, [100], "/root", "/root")  # root by another name
DEPLOY = Identity("deploy", 1001, 1001, [33, 1001], "/home/deploy", "/home/deploy")
WWW = Identity("www-data", 33, 33, [33], "/var/www", "/")
NOBODY = Identity("nobody", 65534, 65534, [65534], "/nonexistent", "/")
USERS = {"token:deploy": ["deploy", "33"], "role:writer": ["nobody"], "*": ["guest"]}


def may(principal: Principal, default: str = "", users: dict[str, list[str]] = USERS) -> set[str]:
    """Return the names of the users as which the principal may run jobs."""
    found = set()
    for identity in (ROOT, TOOR, DEPLOY, WWW, NOBODY):
        try:
            permit(principal, identity, default, users)
        except PermissionDenied:
            continue
        found.add(identity.name)
    return found


def writer(name: str, provider: str = "token", roles: tuple[str, ...] = ("writer",)) -> Principal:
    return Principal(name, provider, [*roles])


@pytest.mark.parametrize(
    ("principal", "default", "users", "expected"),
    [
        (writer("ann"), "", {}, set()),
        (writer("ann"), "nobody", {}, {"nobody"}),
        (writer("ann"), "root", {}, set()),
        (writer("ann"), "toor", {}, set()),
        (writer("ann"), "", USERS, {"nobody"}),
        (writer("deploy"), "", USERS, {"deploy", "www-data", "nobody"}),
        (writer("deploy", "jwt"), "", USERS, {"nobody"}),
        (writer("deploy", roles=()), "", USERS, {"deploy", "www-data"}),
        (writer("ann", roles=("reader",)), "", USERS, set()),
        (writer("ann"), "", {"*": ["root", "toor", "0"]}, set()),
        (writer("ann"), "", {"token:ann": ["1001"]}, {"deploy"}),
        (writer("ann"), "", {"ann": ["deploy"], "token:": ["deploy"], "role:": ["deploy"]}, set()),
        (writer("ann", roles=("admin", "root")), "", {}, set()),
    ],
)
def test_which_users_a_principal_may_name(
    principal: Principal, default: str, users: dict[str, list[str]], expected: set[str]
) -> None:
    """The configured default and the users in the table for the principal, never root by any name."""
    assert may(principal, default, users) == expected


def test_a_group_of_others_is_for_admins() -> None:
    """A user may be in a group that it is in anyway, and only an admin puts it into another."""
    other = Identity("deploy", 1001, 42, [33, 1001], "/", "/")
    with pytest.raises(PermissionDenied, match="deploy is not in it"):
        permit(writer("deploy"), other, "", USERS)
    permit(writer("deploy"), Identity("deploy", 1001, 33, [33, 1001], "/", "/"), "", USERS)


def test_a_refusal_lists_the_allowed_users() -> None:
    """The message has the principal, the user, and the users that are allowed."""
    with pytest.raises(PermissionDenied, match=r"deploy may not run jobs as root: .* deploy, 33, nobody, guest$"):
        permit(writer("deploy"), ROOT, "", USERS)
    with pytest.raises(PermissionDenied, match="it may use no user at all"):
        permit(writer("ann"), ROOT, "", {})


def test_users_by_name_and_by_number() -> None:
    """Both are the same user, with all of its groups; leading zeros make no other user."""
    root = look_up("root", None)
    assert (root.name, root.uid, root.gid) == ("root", 0, 0)
    assert look_up("0", None) == look_up("000", None) == root
    assert look_up("0", "0") == look_up("root", "root")


NO_USERS = ["", " 0", "+0", "-0", "0x0", "0 ", "\u0660", "root\n", "4294967296", "4294967295", "1e0", "0" * 11]


@pytest.mark.parametrize("text", NO_USERS)
def test_what_is_no_user(text: str) -> None:
    """Nothing but a name or decimal digits is taken for a user."""
    with pytest.raises(InvalidSpec, match="expected a user of this host"):
        look_up(text, None)
    with pytest.raises(InvalidSpec, match="expected a group of this host"):
        look_up("root", text)


def test_umasks() -> None:
    """Text is octal, a number is a number."""
    assert [umask("027"), umask("27"), umask(23), umask("0"), umask(0), umask("777")] == [23, 23, 23, 0, 0, 511]


def test_limits() -> None:
    """One value is both; unlimited is -1 as the kernel has it."""
    assert rlimit("nofile", 10) == (10, 10)
    assert rlimit("core", "unlimited") == (-1, -1)
    assert rlimit("cpu", {"soft": 0, "hard": "unlimited"}) == (0, -1)
    assert rlimit("as", {"soft": 2**62, "hard": 2**63 - 1}) == (2**62, 2**63 - 1)
