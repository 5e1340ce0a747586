"""Accept connections: TLS, the HTTP upgrade with its checks, and a session for each connection that passes."""

import errno
import http
import logging
import socket
import ssl
import time
from collections.abc import Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from jobworker import errors
from jobworker.auth.authentication import from_handshake, from_upgrade, logs_in_later
from jobworker.auth.peers import uid_of
from jobworker.linux import descriptors
from jobworker.model import Principal
from jobworker.protocol import BINARY_SUBPROTOCOL, MAX_MESSAGE, PATH, SUBPROTOCOL
from jobworker.rate_limit import RateLimiter
from jobworker.server import metrics, web
from jobworker.server.acceptor import Acceptor, Pending
from jobworker.server.connection import MAX_ANONYMOUS_BYTES, Connection
from jobworker.server.dispatch import dispatch
from jobworker.server.health import LIVE, READY
from jobworker.server.keepalive import Keepalive
from jobworker.server.metrics_listener import MetricsListener
from jobworker.server.origins import bracketed
from jobworker.server.proxies import Proxies
from jobworker.server.requests import KeptProtocol
from jobworker.server.services import Services
from jobworker.server.session import Session
from jobworker.validation import shown
from jobworker.web import files
from jobworker.web.site import Site

log = logging.getLogger(__name__)

LOG_LINES = RateLimiter(1, 30)  # a second, for refusals of one kind: strangers must not fill the disk
BIND_TRIES = 10  # to find a port that is free on all hosts
ADMIN_CONNECTIONS = 16  # beyond limits.connections, for the local admin
OPEN_TIMEOUT_SECONDS = 10.0  # for TLS and upgrade together
HANDSHAKE_TIMEOUT_SECONDS = 5.0  # for TLS
MAX_TRACEPARENT = 256  # characters of the header that are kept for as long as the connection
KEPT_SECONDS = 5.0  # since a connection was made, in which its requests for the page are answered; then it is closed
CLOSE_TIMEOUT_SECONDS = 5.0  # for the client to answer a close frame


def bind(hosts: Sequence[str], ports: Sequence[int]) -> list[socket.socket]:
    """Return a socket for each host, all of them on the first of these ports that is free; raise StartError."""
    failure: errors.StartError | None = None
    hosts = _uncovered(hosts)
    for port in ports:
        for _ in range(
            BIND_TRIES if port == 0 else 1
        ):  # the port that is free on the first host may be taken on others
            socks: list[socket.socket] = []
            try:
                for host in hosts:
                    socks.append(_listen(host, socks[0].getsockname()[1] if socks else port))
            except errors.StartError as error:
                failure = error
                for sock in socks:
                    sock.close()
            else:
                return socks
    assert failure is not None
    raise failure


def _uncovered(hosts: Sequence[str]) -> Sequence[str]:
    """Return the hosts on which to listen: without those of which "0.0.0.0" or "::" takes the same port already."""
    if "::" in hosts and socket.has_dualstack_ipv6():
        return ["::"]
    every = {any_host for any_host in ("0.0.0.0", "::") if any_host in hosts}  # only compared with
    return [host for host in hosts if host in every or ("::" if ":" in host else "0.0.0.0") not in every]


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there, of "::" also by IPv4; raise StartError."""
    every = host == "::" and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256, dualstack_ipv6=every)
    except OSError as error:
        hint = "set server.port in the configuration to a free port, or 0 for any"
        if (error.errno or 0) < 0 or error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):  # < 0: of the resolver
            hint = "set server.host to an address of this host (see `ip address`), or to 0.0.0.0 or :: for all"
        elif error.errno == errno.EACCES and 0 < port < 1024:
            hint = "set server.port to 1024 or more, or give the agent CAP_NET_BIND_SERVICE"
        elif error.errno in (errno.EACCES, errno.EPERM):
            hint = "a seccomp profile, SELinux or AppArmor refuses the agent to listen: allow it there"
        reason = (error.strerror or str(error)).partition(" (while attempting")[0]
        raise errors.StartError(f"cannot listen on {host} port {port}: {reason}", hint=hint) from None


class Listener:
    """Accepts connections on bound sockets until it is closed: on ports with TLS, on a Unix socket without."""

    def __init__(
        self,
        services: Services,
        socks: Sequence[socket.socket],
        unix: socket.socket | None,
        tls: ssl.SSLContext,
    ) -> None:
        self._services = services
        self._socks = socks
        self._unix = unix
        self._tls = tls
        self._proxies = Proxies(services.config.server.proxies, services.config.server.proxy_protocol)
        # Callers that the upgrade has authenticated (None: no credentials yet), their addresses, and the origins of
        # their pages, until their session begins.
        self._upgraded: WeakKeyDictionary[ServerConnection, tuple[Principal | None, str, str]] = WeakKeyDictionary()
        self._keepalive = Keepalive()
        self._metrics = metrics.Metrics(services)
        # Connections by which the page was requested; most have ended.
        self._pages: WeakSet[Connection] = WeakSet()
        settings = services.config.web
        self._site = Site(files.read() if settings.enabled else {}, settings.path)
        # Below the prefix too: the page connects to the path beside it.
        self._rpc_paths = {PATH, settings.path + PATH}
        # Number of open sessions.
        self._sessions = 0
        self._servers: list[Server] = []  # one for each socket
        listen = services.config.metrics.address
        # Serves the metrics without a login, if the configuration has an address for that.
        self._scrapes = MetricsListener(self._metrics, listen) if listen else None

    async def open(self) -> None:
        pending = Pending()
        if self._unix is not None:
            await self._open(self._unix, pending, {})
        tls: dict[str, Any] = {"ssl": self._tls, "ssl_handshake_timeout": HANDSHAKE_TIMEOUT_SECONDS}
        tls["ssl_shutdown_timeout"] = CLOSE_TIMEOUT_SECONDS
        for sock in self._socks:
            await self._open(sock, pending, tls)
        if self._scrapes is not None:
            await self._scrapes.open()

    async def _open(self, sock: socket.socket, pending: Pending, tls: dict[str, Any]) -> None:
        """Serve on a socket, with an acceptor of our own in place of the loop's server."""
        server = serve(
            self._serve,
            process_request=self._process_request,
            open_timeout=OPEN_TIMEOUT_SECONDS,
            server_header=None,
        )
        acceptor = Acceptor(sock, partial(_connection, server), pending, tls)
        server.create_server = acceptor.open  # type: ignore[assignment]  # it has what is called of asyncio.Server
        self._servers.append(await server)

    async def close(self, *, restart: bool = False) -> None:
        """Close all connections (1001, going away, or 1012, service restart) and wait until they have ended."""
        if self._scrapes is not None:
            self._scrapes.close()
        for server in self._servers:
            server.close(code=CloseCode.SERVICE_RESTART if restart else CloseCode.GOING_AWAY)
        for connection in [*self._pages]:
            if connection.protocol.state is State.CONNECTING:  # it waits for a further request
                connection.transport.abort()
        for server in self._servers:
            await server.wait_closed()
        self._keepalive.close()

    async def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Return None to upgrade, else the response; responses reveal nothing to unauthenticated clients."""
        assert isinstance(connection, Connection)
        path = request.path.partition("?")[0]
        page = path not in self._rpc_paths and path not in (LIVE, READY, metrics.PATH)
        if not page:  # else it counts as one without a request, and further ones may come
            connection.requested()
        if connection.remote_address is None:  # it was closed before its request was read: no one gets a response
            return connection.respond(http.HTTPStatus.BAD_REQUEST, "")
        headers, admission = request.headers, self._services.admission
        try:
            address = self._address(connection, headers)
        except errors.InvalidRequest as error:
            admission.note_refusal(_host_port(connection.remote_address), error.message)
            return connection.respond(http.HTTPStatus.FORBIDDEN, f"{error.message}\n")
        if path in (LIVE, READY):  # whatever the Host: a probe goes to an address
            status, text = await self._services.health.answer(path)
            return connection.respond(status, text)
        hosts, origins = headers.get_all("Host"), self._services.origins
        if not origins.knows_host(hosts):
            admission.note_refusal(address, f"the Host {hosts[:1]} is not a name of this agent")
            return connection.respond(http.HTTPStatus.FORBIDDEN, "the Host is not a name of this agent\n")
        if (refused := origins.refused(headers.get_all("Origin"), hosts[0])) is not None:
            what = f"the Origin {shown(refused)} is not allowed"
            admission.note_refusal(address, what)
            if LOG_LINES.allows("origin", time.monotonic()):
                log.warning("%s: refused: %s; server.origins: %s", address, what, sorted(origins.allowed))
            return connection.respond(http.HTTPStatus.FORBIDDEN, f"{what}; server.origins has those that are\n")
        if path == metrics.PATH and self._services.config.metrics.enabled:
            return await self._scraped(connection, headers, address)
        if path not in self._rpc_paths:
            self._pages.add(connection)
            return web.respond(self._site, request, kept=time.monotonic() - connection.admitted < KEPT_SECONDS)
        uid = peer_uid(connection)
        if self._full(reserved=uid is not None and self._services.peers.is_local_admin(uid)):
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "too many connections\n")
        try:
            principal = await self._admitted(connection, headers, address)
            if principal is None:
                self._services.sessions.check_unauthenticated(address)
        except errors.JobworkerError as error:
            return _refusal(connection, address, error)
        self._upgraded[connection] = principal, address, headers.get("Origin", "")
        if principal is None:
            connection.allowance = MAX_ANONYMOUS_BYTES
        return None

    async def _admitted(self, connection: ServerConnection, headers: Headers, address: str) -> Principal | None:
        """Return the caller by its credentials; None without any, or if it logs in later. Raises JobworkerError."""
        admission = self._services.admission
        if logs_in_later(headers):
            return None
        presented = [from_handshake(connection.transport, address), from_upgrade(headers, address)]
        credentials = [item for item in presented if item is not None]
        if credentials:
            return await admission.admit(*credentials, method="upgrade")
        uid = peer_uid(connection)
        return None if uid is None else admission.admit_peer(uid, address)

    async def _scraped(self, connection: ServerConnection, headers: Headers, address: str) -> Response:
        """Return the metrics, for an admin of them."""
        try:
            principal = await self._admitted(connection, headers, address)
            if principal is None:
                raise errors.Unauthenticated("the metrics are for callers with credentials")
        except errors.JobworkerError as error:
            return _refusal(connection, address, error)
        permissions = await self._services.authorization.permissions(principal)
        if not permissions.is_admin(metrics.METHOD):
            expected = f'expected a role with admin = true and methods = ["{metrics.METHOD}"], or more'
            return connection.respond(
                http.HTTPStatus.FORBIDDEN, f"{principal.name} may not read metrics; {expected}\n"
            )
        content_type, body = await self._metrics.text(", ".join(headers.get_all("Accept")))
        response = connection.respond(http.HTTPStatus.OK, "")
        del response.headers["Content-Type"], response.headers["Content-Length"]
        response.headers["Content-Type"], response.headers["Content-Length"] = content_type, str(len(body))
        response.body = body
        return response

    def _address(self, connection: ServerConnection, headers: Headers) -> str:
        """Return the address of the client, as HOST:PORT, or as unix:UID; of one behind a proxy the port is 0.

        Raises InvalidRequest for a header of the PROXY protocol that the configuration does not expect.
        """
        if (uid := peer_uid(connection)) is not None:
            return f"unix:{uid}"
        host, port = connection.remote_address[:2]
        named = self._proxies.named(host, getattr(connection.transport.get_extra_info("ssl_object"), "proxied", None))
        client = self._proxies.client(named, headers)
        return _host_port((client, port if client == host else 0))

    def _full(self, *, reserved: bool) -> bool:
        """Whether one connection more would be too many; the local admin can still enter what others have filled."""
        limit, needed = self._services.config.limits.connections, descriptors.RESERVED
        if reserved:
            limit, needed = limit + ADMIN_CONNECTIONS, descriptors.RESERVED // 2
        return self._sessions >= limit or descriptors.left() < needed

    async def _serve(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Connection)
        self._sessions += 1
        self._keepalive.watch(connection)
        try:
            principal, address, origin = self._upgraded[connection]
            asked = connection.request
            traceparent = "" if asked is None else ", ".join(asked.headers.get_all("traceparent"))[:MAX_TRACEPARENT]
            for kept in (connection.request, connection.response):
                if kept is not None:
                    kept.headers.clear()  # the connection would keep them, credentials among them, until it ends
            await Session(connection, address, origin, self._services, principal, dispatch, traceparent).run()
        finally:
            self._keepalive.forget(connection)
            self._sessions -= 1


def _refusal(connection: ServerConnection, address: str, error: errors.JobworkerError) -> Response:
    """Return the response to credentials that were refused."""
    if isinstance(error, errors.InvalidRequest):
        return connection.respond(http.HTTPStatus.BAD_REQUEST, f"{error.message}\n")
    if isinstance(error, errors.RateLimited):
        response = connection.respond(http.HTTPStatus.TOO_MANY_REQUESTS, f"{error.message}\n")
        response.headers["Retry-After"] = str(error.data["retry_after"])
        return response
    if LOG_LINES.allows("credentials", time.monotonic()):
        log.warning("%s: refused: %s", address, error.message)
    response = connection.respond(http.HTTPStatus.UNAUTHORIZED, f"{error.message}\n")
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _connection(server: Server) -> Connection:
    """Return the connection of a client that was accepted; without compression, which costs memory and CPU."""
    return Connection(
        KeptProtocol(select_subprotocol=_select_subprotocol, max_size=MAX_MESSAGE, logger=server.logger),
        server,
        ping_interval=None,  # it would be a task and a timer for each connection; see keepalive.py
        close_timeout=CLOSE_TIMEOUT_SECONDS,
        max_queue=4,  # frames received and not read yet; beyond that reading pauses
    )


def _select_subprotocol(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Select the first subprotocol of ours; one that carries a token is never echoed."""
    return next((name for name in offered if name in (SUBPROTOCOL, BINARY_SUBPROTOCOL)), None)


def peer_uid(connection: ServerConnection) -> int | None:
    """Return the uid of a client on the Unix socket; None for one on the port."""
    sock = connection.transport.get_extra_info("socket")
    return uid_of(sock) if sock.family == socket.AF_UNIX else None


def _host_port(address: Sequence[Any]) -> str:
    return f"{bracketed(address[0])}:{address[1]}"
