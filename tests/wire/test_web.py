"""The page in the browser, as its files come over the port of the RPC."""

import http.client
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from tests.conftest import DEADLINE, RunningAgent
from tests.support.wire import Upgrade, tls

LAST = b"GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
Get = Callable[..., tuple[http.client.HTTPResponse, bytes]]


@pytest.fixture
def get() -> Get:
    """Send a request to an agent; return the response and its body."""

    def get(
        agent: RunningAgent, path: str, method: str = "GET", **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPSConnection("127.0.0.1", agent.port, context=tls(agent), timeout=DEADLINE)
        try:
            sent = {name.replace("_", "-"): text for name, text in headers.items()}
            connection.request(method, path, headers={"Connection": "close"} | sent)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    return get


@pytest.fixture(scope="module")
def prefixed(start_agent: Callable[..., RunningAgent]) -> RunningAgent:
    """An agent with a prefix for the page."""
    return start_agent(config='[web]\npath = "/some/jobs"\n')


def policy(response: http.client.HTTPResponse) -> dict[str, str]:
    parts = (response.headers["Content-Security-Policy"] or "").split("; ")
    return {name: value for name, _, value in (part.partition(" ") for part in parts)}


def test_the_page_and_its_headers(shared: RunningAgent, get: Get) -> None:
    """Nothing but files of the agent is loaded, nothing is made of strings, and no page frames it."""
    response, body = get(shared, "/")
    assert (response.status, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert body.startswith(b"<!doctype html>")
    style = policy(response).pop("style-src")
    assert {name: value for name, value in policy(response).items() if name != "style-src"} == {
        **dict.fromkeys(["default-src", "base-uri", "form-action", "frame-ancestors"], "'none'"),
        **dict.fromkeys(["script-src", "connect-src", "img-src"], "'self'"),
        "require-trusted-types-for": "'script'",
    }
    again, _ = get(shared, "/")
    assert policy(again)["style-src"] != style, "each response has a nonce of its own"
    for found, page in ((response, body), (again, _)):
        nonce = policy(found)["style-src"].removeprefix("'self' 'nonce-").removesuffix("'")
        assert page.count(nonce.encode()) == 1
        assert len(nonce) >= 22
    assert response.headers["Cache-Control"] == "no-store"
    assert {name: response.headers[name] for name in ("X-Content-Type-Options", "Referrer-Policy")} == {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "nonce" not in get(shared, "/app.css")[0].headers["Content-Security-Policy"]


def test_a_file_is_sent_once(shared: RunningAgent, get: Get) -> None:
    response, body = get(shared, "/app.css")
    assert (response.status, response.headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    again, nothing = get(shared, "/app.css", If_None_Match=response.headers["ETag"])
    assert (again.status, nothing) == (304, b"")
    head, nothing = get(shared, "/app.css", "HEAD")
    assert (head.status, nothing, head.headers["Content-Length"]) == (200, b"", str(len(body)))


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/../../etc/passwd", {}, 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", {}, 404),
        ("GET", "/app/../../__init__.py", {}, 404),
        ("GET", "//etc/passwd", {}, 404),
        ("GET", "https://evil.example/", {}, 403),
        ("GET", "/" + "x" * 20_000, {}, 414),
        ("GET", "/", {"X": "x" * 20_000}, 431),
        ("POST", "/", {}, 405),
        ("DELETE", "/app.css", {}, 405),
        ("OPTIONS", "/", {"Origin": "https://127.0.0.1"}, 403),
        ("GET", "/", {"Host": "evil.example"}, 403),
        ("GET", "/", {"Host": "127.0.0.1.evil.example"}, 403),
        ("GET", "/", {"Host": ""}, 403),
        ("GET", "/", {"Host": "localhost:8443"}, 200),
        ("GET", "/app.css", {"Origin": "https://evil.example"}, 403),
        ("GET", "/app.css", {"Origin": "null"}, 403),
        ("GET", "/", {"Range": "bytes=0-0, 0-0, 0-0"}, 200),
        ("GET", "/", {"If-None-Match": "*"}, 200),
        ("GET", "/app.css", {"Accept-Encoding": "gzip;q=x, " * 1000}, 431),
    ],
)
def test_hostile_requests(
    shared: RunningAgent, get: Get, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """They are refused or answered with a file of the page; nothing is written to the log about them."""
    seen = shared.home.agent_log.stat().st_size
    response, body = get(shared, path, method, **headers)
    assert response.status == status
    assert b"root:" not in body
    assert b"Traceback" not in shared.home.agent_log.read_bytes()[seen:]


def test_a_request_with_a_body_is_cut(shared: RunningAgent, get: Get) -> None:
    """As for /rpc: nothing of it is read."""
    with pytest.raises((http.client.HTTPException, OSError)):
        get(shared, "/", "POST", Content_Length="1000000")


async def test_a_prefix(prefixed: RunningAgent, get: Get, upgrade: Upgrade) -> None:
    """The page, its files and the RPC are below it; the RPC is at /rpc too."""
    for path, status in (
        ("/some/jobs/", 200),
        ("/some/jobs/app.css", 200),
        ("/some/jobs/?x", 200),
        ("/some/jobs", 308),
        ("/", 404),
        ("/app.css", 404),
        ("/some/", 404),
        ("/some/jobsx/", 404),
        ("/some/jobs//", 404),
    ):
        assert get(prefixed, path)[0].status == status, path
    assert get(prefixed, "/some/jobs")[0].headers["Location"] == "jobs/"
    bearer = ("Authorization", f"Bearer {prefixed.token}")
    for path, status in (("/rpc", 101), ("/some/jobs/rpc", 101), ("/some/rpc", 404)):
        assert (await upgrade(prefixed, bearer, path=path))[0] == status, path


def test_without_the_page(start_agent: Callable[..., RunningAgent], get: Get) -> None:
    """With `enabled = false` there is /rpc and nothing else."""
    agent = start_agent(config="[web]\nenabled = false\n")
    for path in ("/", "/index.html", "/app.css"):
        response, body = get(agent, path)
        assert (response.status, body) == (404, b"expected /rpc\n")


@pytest.mark.parametrize("path", ["/", "jobs", "/jobs/", "//jobs", "/../x", "/a/./b", "/a b", "/%41", "/a?b", "/ä"])
def test_a_prefix_that_is_none(unfit: Callable[[str], str], path: str) -> None:
    assert "web.path" in unfit(f'[web]\npath = "{path}"\n')


def test_many_requests_by_one_connection(shared: RunningAgent) -> None:
    """As a browser sends them, which would open a connection with TLS for each; the last may open a WebSocket."""
    connection = http.client.HTTPSConnection("127.0.0.1", shared.port, context=tls(shared), timeout=DEADLINE)
    connection.connect()
    sock = connection.sock
    for path, status in (("/", 200), ("/app.css", 200), ("/none", 404), ("/icon.svg", 200)):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert (response.status, connection.sock) == (status, sock), path
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    upgrade |= {"Sec-WebSocket-Key": "A" * 22 + "==", "Authorization": f"Bearer {shared.token}"}
    connection.request("GET", "/rpc", headers=upgrade)
    assert connection.sock is sock
    assert connection.getresponse().status == 101
    connection.close()


@pytest.mark.parametrize(
    "more", [b"GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"\x81\x00\r\n"]
)
def test_what_comes_before_the_answer(shared: RunningAgent, more: bytes) -> None:
    """A request that is sent before the one before it is answered is answered after it; nothing reaches the log."""
    seen = shared.home.agent_log.stat().st_size
    with (
        socket.create_connection(("127.0.0.1", shared.port), timeout=DEADLINE) as plain,
        tls(shared).wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        sock.sendall(b"GET /icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n" + more)
        answer = b""
        while part := sock.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.count(b"HTTP/1.1 404 Not Found\r\n") == more.count(b"GET")
    assert b"Traceback" not in shared.home.agent_log.read_bytes()[seen:]


def test_what_is_no_http(shared: RunningAgent) -> None:
    """Bytes that are no request: the connection is closed, and the agent answers the next."""
    for data in (
        b"\0" * 100 + b"\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01" * 50 + b"\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", shared.port), timeout=DEADLINE) as plain:
            context: Any = tls(shared)
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
                sock.sendall(data)
                try:
                    assert b" 200 " not in sock.recv(4096)
                except (ssl.SSLError, ConnectionError):
                    pass
