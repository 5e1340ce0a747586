"""Find the client behind proxies that the configuration trusts, by X-Forwarded-For or the PROXY protocol."""

import ipaddress
from collections.abc import Sequence

from websockets.datastructures import Headers

from jobworker.errors import InvalidRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxies:
    """The networks of `server.proxies`, and those of `server.proxy_protocol`."""

    def __init__(self, networks: Sequence[str], headers: Sequence[str] = ()) -> None:
        self._networks = [ipaddress.ip_network(network, strict=False) for network in networks]
        # Of proxies whose connections begin with a header of the PROXY protocol.
        self._headers = [ipaddress.ip_network(network, strict=False) for network in headers]

    def named(self, peer: str, header: str | None) -> str:
        """Return the client that `peer` names in its PROXY header: `peer` itself without one, or if it names none.

        Raises InvalidRequest for a header of a peer that is not configured, and for one without a header that is:
        either could pass for another client.
        """
        address = _address(peer)
        if any(address in network for network in self._headers if address is not None) != (header is not None):
            what = "a PROXY header is not allowed" if header is not None else "a PROXY header is missing"
            raise InvalidRequest(f"{what} from this address; expected one from those of server.proxy_protocol alone")
        return header or peer

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
