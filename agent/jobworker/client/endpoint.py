"""The address of an agent, the credentials for it, and which certificate to trust."""

from pathlib import Path
from typing import Any


class Endpoint:
    """An agent to connect to. Credentials are a token, or a user name and a password, or a client certificate.

    It is not changed, and not a dataclass: importing those takes a tenth of the time of `jw status`.
    """

    def __init__(
        self,
        address: str | None = None,
        token: str | None = None,
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        pin: str | None = None,
        insecure: bool = False,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        # wss://HOST:PORT/rpc. None: the local agent, which writes its address into its state folder.
        self.address = address
        self.token = token
        # PEM file with the only CA to trust. None: the CAs of the system.
        self.ca = ca
        # PEM files of a client certificate and its key; without `key` both are in `cert`.
        self.cert = cert
        self.key = key
        # "sha256:…" of the only certificate to trust, by any signer; with a `ca`, both must be right.
        self.pin = pin
        # Skip certificate verification: any server that answers gets the token.
        self.insecure = insecure
        self.username = username
        self.password = password

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Endpoint) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        """Return it without token and password."""
        shown = {name: value for name, value in vars(self).items() if name not in ("token", "password")}
        return f"Endpoint({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def replaced(self, **changes: Any) -> "Endpoint":
        """Return the same with other values."""
        return Endpoint(**(vars(self) | changes))

    def override(self, given: "Endpoint") -> "Endpoint":
        """Return this address with the credentials and the trust of `given` as far as it has any."""
        endpoint = self.replaced(insecure=given.insecure)
        if given.token is not None:
            endpoint = endpoint.replaced(token=given.token, username=None, password=None)
        if given.ca is not None or given.pin is not None:
            endpoint = endpoint.replaced(ca=given.ca, pin=given.pin)
        return endpoint if given.cert is None else endpoint.replaced(cert=given.cert, key=given.key)


BLANKS = " \t\r\n\ufeff"  # around a value from a file or a variable, with the byte order mark of some editors


def normal_token(text: str) -> str:
    """Return a token without blanks around it; raise ValueError, which does not show it, if no header can hold it."""
    token = text.strip(BLANKS)
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("the token is empty or malformed; expected letters, digits and signs on a single line")
    return token


UNIX = "unix:///"  # how the address of a Unix socket begins, up to the first slash of its path


def normal_address(text: str) -> str:
    """Return an address without blanks around it; raise ValueError, which shows no password in it."""
    address = text.strip(BLANKS)
    if address.startswith(UNIX):
        return address
    if "@" in address:
        raise ValueError("address: it has credentials; expected wss://HOST:PORT/rpc, and a token beside it")
    if "?" in address or "#" in address:
        raise ValueError("address: it has a query; expected wss://HOST:PORT/rpc, and a token beside it")
    if not address.startswith("wss://") or not address.isprintable() or " " in address or not _has_host(address):
        raise ValueError(f"address: {address!r}; expected wss://HOST:PORT/rpc, or unix:///PATH of a socket")
    return address


def _has_host(address: str) -> bool:
    """Whether an address has a host, and a port that can be."""
    from urllib.parse import urlsplit  # slow to import, and not needed for a socket

    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # of brackets, or a port beyond 65535
        return False
