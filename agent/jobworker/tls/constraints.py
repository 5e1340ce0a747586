"""Name constraints: a CA that people import into browsers signs servers of its own names only.

Without them, a thief of its key could pose as any host to those people.
"""

import ipaddress
import socket
from collections.abc import Iterable

from cryptography import x509

# Every CA has a name of each kind: a kind without any would not be constrained at all.
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
# The domain of the names of clients: it is reserved, so no host has such a name.
NO_HOST = "invalid"


def constraints(names: Iterable[str]) -> x509.NameConstraints:
    """Return those of a CA for servers with these host names and addresses, and for names below them."""
    subtrees = dict.fromkeys(filter(None, map(_subtree, [*LOCAL_NAMES, NO_HOST, *names])))
    return x509.NameConstraints(permitted_subtrees=[*subtrees], excluded_subtrees=None)


def own_name() -> list[str]:
    """Return the name of this host, which may later be one of the agent, if a certificate can have it."""
    name = socket.gethostname()
    return [name] if name.isascii() and name.replace("-", "").replace(".", "").isalnum() else []


def permitted(ca: x509.Certificate) -> list[str]:
    """Return the host names and networks that a CA may sign for; none if it has no constraints."""
    try:
        found = ca.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return []
    return [str(subtree.value) for subtree in found.permitted_subtrees or ()]


def forbidden(ca: x509.Certificate, names: Iterable[str]) -> list[str]:
    """Return those of these names of servers for which a CA may not sign: clients would refuse the certificate."""
    allowed = permitted(ca)
    return [name for name in names if allowed and not any(_holds(subtree, name) for subtree in allowed)]


def client_names(ca: x509.Certificate, names: Iterable[str]) -> list[str]:
    """Return the names of a client as a CA may sign them: `alice` is `alice.invalid`, unless it is a host's name.

    A mail address stays, and what can be no name in a domain is left out.
    """
    return [
        name if "@" in name or not forbidden(ca, [name]) else f"{name}.{NO_HOST}"
        for name in names
        if ":" not in name or not forbidden(ca, [name])
    ]


def is_address(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _subtree(name: str) -> x509.GeneralName | None:
    """Return the subtree of a name; None for a mail address, which no constraint is about."""
    if "@" in name:
        return None
    try:
        return x509.IPAddress(ipaddress.ip_network(name))
    except ValueError:
        return x509.DNSName(name.removeprefix("*.").lower())


def _holds(subtree: str, name: str) -> bool:
    if is_address(name):
        return "/" in subtree and ipaddress.ip_address(name) in ipaddress.ip_network(subtree)
    name = name.removeprefix("*.").lower()
    return "@" in name or name == subtree or name.endswith(f".{subtree}")
