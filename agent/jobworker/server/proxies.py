"""Find the client behind proxies that the configuration trusts, by X-Forwarded-For."""

import ipaddress
from collections.abc import Sequence

from websockets.datastructures import Headers

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxies:
    """The networks of `server.proxies`."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(network, strict=False) for network in networks]

    def client(self, peer: str, headers: Headers) -> str:
        """Return the address of the client behind `peer`; that of `peer` itself unless it is a proxy.

        Each proxy appends the address that has called it. The list is read from its end, as far as proxies
        have written it: what comes before may be the client's own invention.
        """
        if not self._networks or (address := _address(peer)) is None:
            return peer
        entries = [entry for value in headers.get_all("X-Forwarded-For") for entry in value.split(",")]
        while self._trusts(address) and entries:
            before = _address(entries.pop().strip())
            if before is None:
                break
            address = before
        return str(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _address(text: str) -> Address | None:
    """Return an IP address that may have a port, as 192.0.2.1:80 or [2001:db8::1]:80; None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
