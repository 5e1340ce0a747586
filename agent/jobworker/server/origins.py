"""Decide which names and pages may reach the agent: the values of `Host` and `Origin` that browsers send."""

import re
from collections.abc import Collection, Sequence


class Origins:
    """The names of the agent, and the origins of the pages that may connect."""

    def __init__(self, names: Sequence[str], port: int, configured: Collection[str]) -> None:
        """`names` are host names without a port, `configured` the origins of `server.origins`."""
        names = [name.lower() for name in names]  # as browsers send them, and as `Host` is compared
        # Accepted names in `Host`. A browser sends another name for a page that rebinds its name to our address. The
        # port there is that of a tunnel or proxy, if the client connects to one.
        self._hosts = {bracketed(name) for name in names}
        self._configured = frozenset(configured)
        # Accepted values of `Origin`, which browsers send: other origins are pages of other sites.
        self.allowed = {f"https://{bracketed(name)}:{port}" for name in names} | self._configured

    def knows_host(self, hosts: Sequence[str]) -> bool:
        """Whether the values of `Host` are one name of this agent, with any port."""
        return len(hosts) == 1 and _without_port(hosts[0].lower()) in self._hosts

    def refused(self, origins: Sequence[str], host: str) -> str | None:
        """Return which of the values of `Origin` is not allowed in a request to this host; None: all are."""
        own = f"https://{host.lower()}"  # of a page that the browser got by the same name and port
        if origins and (len(origins) > 1 or origins[0] not in self.allowed | {own}):
            return origins[0]
        return None

    def is_own(self, origin: str) -> bool:
        """Whether this is the origin of the agent's own page, by any of its names and any port."""
        scheme, _, host = origin.partition("://")
        return scheme == "https" and self.knows_host([host])

    def page(self, origin: str) -> str | None:
        """Return an origin as browsers send it; None if a page of it may not connect."""
        origin = origin.lower().rstrip("/").removesuffix(":443")
        return origin if origin in self.allowed or self.is_own(origin) else None


def _without_port(host: str) -> str:
    """Return the name in a `Host`, without the dot of a complete name; "" if it is malformed."""
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*?)\.?(:\d{0,5})?", host)
    return match[1] if match else ""


def bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name
