"""Test `webhook` with servers that take, refuse, fail, redirect and stall, over TLS, and with an agent."""

import asyncio
import hashlib
import hmac
import json
import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jobworker_webhook
import pytest

from jobworker.errors import StartError
from jobworker.interfaces import JobEvent, rfc3339
from jobworker.testing import load, make_event

SECRET = b"a secret of thirty bytes or so"
ID = "00test-0"


class Server(ThreadingHTTPServer):
    """Records the requests, and answers with the statuses in turn, the last one for ever."""

    def __init__(self, *statuses: int, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses = list(statuses)
        self.requests: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.gate = threading.Event()  # an answer waits for it
        self.gate.set()
        self.location = ""
        self.scheme = "https" if tls else "http"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}/jobs?key=1"

    def handle_error(self, *_: object) -> None:
        """Print nothing about clients that have left."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        assert self.path == "/jobs?key=1"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.put((dict(self.headers), body))
        status = self.server.statuses.pop(0) if len(self.server.statuses) > 1 else self.server.statuses[0]
        self.server.gate.wait()
        if not status:
            self.wfile.write(b"SSH-2.0-OpenSSH\r\n")
            return
        self.send_response(status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    running: list[tuple[Server, threading.Thread]] = []

    def start(*statuses: int, tls: ssl.SSLContext | None = None) -> Server:
        server = Server(*statuses, tls=tls)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


def now(name: str, **changes: Any) -> JobEvent:
    """Return an event of this moment."""
    event = make_event(name, **changes)
    return JobEvent(event.revision, rfc3339(time.time_ns()), event.event, event.by, event.detail, event.job)


def deliver(url: str, event: JobEvent | None = None, **settings: Any) -> list[float]:
    """Give the observer an event as the agent does, until it is done with; return the waits that it asked for."""
    [observe] = load(jobworker_webhook, {"url": url, "retry": "10ms", **settings}).observers.values()
    event = event or now("exited", labels={"team": "blue"})

    async def work() -> list[float]:
        waits = []
        while (later := await observe(event)) is not None:
            waits.append(later)
            await asyncio.sleep(later)
        return waits

    return asyncio.run(work())


def test_what_is_posted(serve: Callable[..., Server], tmp_path: Path) -> None:
    """The event as JSON, with an id, signed with the content of the file."""
    server = serve(204)
    key = tmp_path / "key"
    key.write_bytes(SECRET + b"\n")
    key.chmod(0o600)
    assert deliver(server.url, secret_file=str(key)) == []
    headers, body = server.requests.get(timeout=10)
    content = json.loads(body)
    assert (content["id"], content["event"]["event"], content["event"]["job"]["id"]) == (ID, "exited", "00test")
    assert content["event"]["job"]["exit"]["code"] == 0
    assert (headers["Jobworker-Id"], headers["Jobworker-Event"]) == (ID, "exited")
    moment, digest = (part.partition("=")[2] for part in headers["Jobworker-Signature"].split(","))
    assert abs(time.time() - int(moment)) < 60
    assert hmac.new(SECRET, moment.encode() + b"." + body, hashlib.sha256).hexdigest() == digest


@pytest.mark.parametrize(
    ("event", "settings", "posted"),
    [
        ("exited", {}, True),
        ("created", {}, False),
        ("created", {"events": ["created", "exited"]}, True),
        ("exited", {"events": []}, False),
        ("exited", {"labels": {"team": "blue"}}, True),
        ("exited", {"labels": {"team": "b*"}}, True),
        ("exited", {"labels": {"team": "red"}}, False),
        ("exited", {"labels": {"team": "*", "stage": "*"}}, False),
    ],
)
def test_which_are_posted(serve: Callable[..., Server], event: str, settings: dict[str, Any], posted: bool) -> None:
    server = serve(200)
    deliver(server.url, now(event, labels={"team": "blue"}), **settings)
    assert server.requests.qsize() == posted


@pytest.mark.parametrize(
    ("statuses", "posts"),
    [
        ([500, 503, 429, 408, 404, 302, 0, 200], 8),  # whatever comes before it: the event is delivered
        ([500] * 6 + [200], 7),  # a server that fails is asked more often than `attempts`
        ([404], 3),
        ([301], 3),
        ([410, 500, 410, 500, 410], 5),
    ],
)
def test_what_fails(serve: Callable[..., Server], statuses: list[int], posts: int) -> None:
    """It is posted again, with waits that grow; what is refused is given up after `attempts`."""
    server = serve(*statuses)
    waits = [wait for wait in deliver(server.url, attempts=3) if wait]
    assert server.requests.qsize() == posts
    assert len(waits) == posts - 1
    for number, wait in enumerate(waits):
        assert 0.5 <= wait / (0.01 * 2**number) <= 1.0
    assert {json.loads(server.requests.get()[1])["id"] for _ in range(posts)} == {ID}


def test_an_old_event_is_given_up(serve: Callable[..., Server]) -> None:
    """It is posted once at least, however old it is."""
    server = serve(500)
    assert not any(deliver(server.url, give_up_after="1ms"))
    assert server.requests.qsize() == 1


def test_a_redirect_is_not_followed(serve: Callable[..., Server]) -> None:
    """Neither the event nor its signature goes to another server."""
    server, other = serve(307), serve(200)
    server.location = other.url
    deliver(server.url, attempts=2)
    assert (server.requests.qsize(), other.requests.qsize()) == (2, 0)


def test_a_slow_server(serve: Callable[..., Server]) -> None:
    """No call takes as long as the server; an answer after `timeout` does not count."""
    server = serve(200)
    server.gate.clear()
    posts = server.requests
    observer = threading.Thread(target=deliver, args=(server.url,), kwargs={"timeout": "700ms"})
    observer.start()
    assert posts.get(timeout=10)[1] == posts.get(timeout=10)[1]  # the second after the first has timed out
    server.gate.set()
    observer.join(30)
    assert not observer.is_alive()


def test_no_server(serve: Callable[..., Server]) -> None:
    """A port at which no server listens is tried again until the event is too old."""
    server = serve(200)
    server.server_close()
    assert len(deliver(server.url, give_up_after="100ms")) >= 2


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"url": "file:///etc/passwd"},
        {"url": "ftp://127.0.0.1/"},
        {"url": "https://"},
        {"url": "https:///path"},
        {"url": "https://example.org:0/"},
        {"url": "https://example.org:99999/"},
        {"url": "https://user:password@example.org/"},
        {"url": "https://example.org/#part"},
        {"url": "https://example.org/a b"},
        {"url": "https://example.org/\u00e9"},
        {"url": "https://example.org/\r\nX: y"},
        {"url": "http://example.org/"},
        {"url": "http://127.0.0.1.example.org/"},
        {"url": "http://localhost.example.org/"},
        {"url": "https://example.org/", "events": ["ended"]},
        {"url": "https://example.org/", "attempts": 0},
        {"url": "https://example.org/", "timeout": 0},
        {"url": "https://example.org/", "retry": "soon"},
        {"url": "https://example.org/", "secret_file": "/nowhere"},
        {"url": "https://example.org/", "ca": "/nowhere"},
        {"url": "https://example.org/", "ca": "/etc/hostname"},
        {"url": "https://example.org/", "colour": "red"},
    ],
)
def test_settings_that_cannot_be_used(table: dict[str, Any]) -> None:
    with pytest.raises(StartError, match=r"\[plugins.\w+\]") as refused:
        load(jobworker_webhook, table)
    assert "password" not in str(refused.value)


def test_secrets_that_cannot_be_used(tmp_path: Path) -> None:
    key = tmp_path / "key"
    for content, mode, why in ((SECRET, 0o604, "others can read it"), (b"short", 0o600, "5 bytes")):
        key.write_bytes(content)
        key.chmod(mode)
        with pytest.raises(StartError, match=why):
            load(jobworker_webhook, {"url": "https://example.org/", "secret_file": str(key)})


@pytest.mark.parametrize("table", [{"url": "http://[::1]:8080"}, {"url": "http://10.0.0.1/", "allow_http": True}])
def test_settings_that_can_be_used(table: dict[str, Any]) -> None:
    load(jobworker_webhook, table)


def test_with_an_agent(jobworker_agent: Any, serve: Callable[..., Server]) -> None:
    """The end of a job is posted over TLS, to a server whose certificate a CA of its own has signed, and no other."""
    authority = jobworker_agent()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority.home.tls / "server.pem", authority.home.tls / "server.key")
    server = serve(200, tls=tls)
    table = f'[plugins.webhook]\nurl = "{server.url}"\nca = "{authority.ca}"\nlabels = {{notify = "yes"}}\n'
    agent = jobworker_agent(table, plugins=["webhook"])
    assert agent.jw("run", "--", "true").returncode == 0
    assert agent.jw("run", "--name", "told", "--label", "notify=yes", "--", "sh", "-c", "exit 7").returncode == 7
    job = json.loads(server.requests.get(timeout=60)[1])["event"]["job"]
    assert (job["name"], job["exit"]["code"]) == ("told", 7)
    assert server.requests.empty()
    assert any("CERTIFICATE_VERIFY_FAILED" in each for each in _failures(server.url))


def _failures(url: str) -> list[str]:
    """Return why an event was not delivered."""
    settings = jobworker_webhook.Settings(url, give_up_after="1ms")
    texts: list[str] = []

    class Log:
        def error(self, text: str, *values: object) -> None:
            texts.append(text % values)

        warning = error

    webhook = jobworker_webhook.Webhook(settings, Log())  # type: ignore[arg-type]

    event = now("exited")

    async def work() -> None:
        while await webhook.handle(event) is not None:
            pass

    asyncio.run(work())
    return texts
