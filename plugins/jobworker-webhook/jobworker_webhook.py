"""Observer `webhook`: post events of jobs to an HTTP server, signed, each until the server has taken it.

The agent keeps the events and how far this observer is; there is no queue besides. An event that the server has not
taken is given to the observer again, also by the next agent: none is lost, and one may be posted twice.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import random
import re
import socket
import ssl
import stat
import time
from collections.abc import Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import msgspec

from jobworker.interfaces import Duration, JobEvent, PluginContext, hookimpl, positive

CALL_SECONDS = 0.5  # that a call of the observer waits for an answer: less than any useful limits.plugin_call
MAX_WAIT_SECONDS = 300.0  # between two posts of one event
MAX_LINE_BYTES = 4096  # of a status line
MIN_SECRET_BYTES = 16
BUSY = (408, 425, 429)  # of the statuses below 500, those of a server that may take the event later
EVENTS = (
    *("created", "started", "updated", "paused", "resumed", "deadline_near", "limit_failed", "stopping"),
    *("exited", "stopped", "writer", "waiting", "answered", "deleted"),
)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[plugins.webhook]`.

    `secret_file`: the key of the signature; without it nothing is signed. `events`: which are posted; `labels`:
    patterns that the labels of the job must match. `ca`: the certificates that sign those of the server, in place of
    those of the host. `allow_http`: also to other hosts than this one. `timeout`: for an answer. `retry`: after a
    post that failed, doubled each time, up to five minutes. An event is given up after so many `attempts` that the
    server has refused (3xx, 4xx), and `give_up_after` its time if the server fails or cannot be reached.
    """

    url: str
    secret_file: str = ""
    events: list[str] = msgspec.field(default_factory=lambda: ["exited"])
    labels: dict[str, str] = {}
    ca: str = ""
    allow_http: bool = False
    timeout: Duration = "10s"
    retry: Duration = "1s"
    attempts: int = 10
    give_up_after: Duration = "1d"

    def __post_init__(self) -> None:
        """Raise ValueError for values with which nothing could be posted."""
        _require_usable(self.url, allow_http=self.allow_http)
        for event in self.events:
            if event not in EVENTS:
                raise ValueError(f"events: {event[:40]!r}; expected some of {', '.join(EVENTS)}")
        for name in ("timeout", "retry", "give_up_after"):
            positive(getattr(self, name), name)
        if self.attempts < 1:
            raise ValueError(f"attempts: {self.attempts}; expected 1 or more")
        if self.secret_file:
            _read_secret(self.secret_file)
        try:
            _trust(self.ca)
        except OSError as error:
            raise ValueError(f"ca: {self.ca}: {error.strerror or error}; expected certificates as PEM") from None


def _require_usable(url: str, *, allow_http: bool) -> None:
    """Raise ValueError for a URL that is not posted to. It may have a token: no message shows more than its host."""
    expected = "expected https://HOST/PATH, or http:// to this host"
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise ValueError(f"url: it has a space or a character that is not ASCII; {expected}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"url: {error}; {expected}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(f"url: {parts.scheme[:20]}://{parts.hostname or ''}; {expected}")
    if parts.username is not None or parts.fragment:
        raise ValueError(f"url: it has a user or a fragment; {expected}")
    if parts.scheme == "http" and not (allow_http or _is_loopback(parts.hostname)):
        raise ValueError(f"url: http://{parts.hostname}: others can read and change it; {expected}, or allow_http")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_secret(path: str) -> bytes:
    """Return the key of the signature; raise ValueError if it cannot be used, without a part of it."""
    try:
        mode, content = Path(path).stat().st_mode, Path(path).read_bytes().strip()
    except OSError as error:
        raise ValueError(f"secret_file: {path}: {error.strerror}") from None
    if mode & stat.S_IRWXO:
        raise ValueError(f"secret_file: {path}: others can read it; expected chmod o= {path}")
    if len(content) < MIN_SECRET_BYTES:
        raise ValueError(f"secret_file: {path}: {len(content)} bytes; expected {MIN_SECRET_BYTES} or more")
    return content


def _trust(ca: str) -> ssl.SSLContext:
    """Return what verifies servers: by the certificates of a file, or by those of the host."""
    return ssl.create_default_context(cafile=ca or None)


def signature(secret: bytes, moment: int, body: bytes) -> str:
    """Return the value of the header `Jobworker-Signature`; a receiver computes it again and compares."""
    digest = hmac.new(secret, f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


class Webhook:
    """Posts one event at a time: that which the agent gives, until it is done with."""

    def __init__(self, settings: Settings, log: logging.Logger) -> None:
        self._settings = settings
        self._log = log
        self._url = urlsplit(settings.url)
        self._tls: ssl.SSLContext | None = None  # made when it is first used: it reads files
        self._event = ""  # the id of the event that is being posted
        self._post: asyncio.Task[int] | None = None  # of that event
        self._refused = 0  # posts of that event that were refused
        self._failures = 0  # posts that failed in a row, of any event
        self.given_up = 0  # events that were not delivered

    async def handle(self, event: JobEvent) -> float | None:
        """Post an event if it is selected; return None when it is done with, else in how many seconds to go on."""
        if event.event not in self._settings.events or not self._has_labels(event.job.labels):
            return None
        name = f"{event.job.id}-{event.revision}"
        if name != self._event:
            self._event, self._refused = name, 0
            if self._post is not None:
                self._post.cancel()
                self._post = None
        if self._post is None:
            self._post = asyncio.create_task(self._send(name, event))
        if not (await asyncio.wait({self._post}, timeout=CALL_SECONDS))[0]:
            return 0.0
        post, self._post = self._post, None
        try:
            status = post.result()
        except (OSError, ValueError) as error:  # a timeout is an OSError
            return self._again(event, str(error) or "no answer in time")
        if 200 <= status < 300:
            self._failures = 0
            return None
        if status < 500 and status not in BUSY:
            self._refused += 1
        moved = "; redirects are not followed: change url" if 300 <= status < 400 else ""
        return self._again(event, f"HTTP status {status}{moved}")

    def _has_labels(self, labels: Mapping[str, str]) -> bool:
        wanted = self._settings.labels.items()
        return all(name in labels and fnmatchcase(labels[name], pattern) for name, pattern in wanted)

    def _again(self, event: JobEvent, why: str) -> float | None:
        """Return when to post an event again after a failure; None: it is given up."""
        host = f"{self._url.scheme}://{self._url.hostname}"  # the rest of the URL may be secret
        age = time.time() - datetime.fromisoformat(event.time).timestamp()
        limit = positive(self._settings.give_up_after, "give_up_after")
        self._failures += 1
        if self._refused >= self._settings.attempts or age > limit:
            self.given_up += 1
            text = "%s does not take the event %s (%s): it is given up, %d so far"
            self._log.error(text, host, self._event, why, self.given_up)
            return None
        wait = positive(self._settings.retry, "retry") * 2.0 ** min(self._failures - 1, 30)
        wait = min(wait, MAX_WAIT_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter: agents spread out
        self._log.warning("%s does not take the event %s (%s): again in %.1f s", host, self._event, why, wait)
        return wait

    async def _send(self, name: str, event: JobEvent) -> int:
        """Post an event and return the HTTP status; raise OSError or ValueError."""
        body = msgspec.json.encode({"id": name, "host": socket.gethostname(), "event": event})
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "jobworker-webhook/1.0",
            "Jobworker-Id": name,
            "Jobworker-Event": event.event,
        }
        if self._settings.secret_file:  # read each time: the key may be replaced
            secret = _read_secret(self._settings.secret_file)
            headers["Jobworker-Signature"] = signature(secret, int(time.time()), body)
        if self._url.scheme == "https" and self._tls is None:
            self._tls = _trust(self._settings.ca)
        async with asyncio.timeout(positive(self._settings.timeout, "timeout")):
            return await post(self._url, headers, body, self._tls)


async def post(url: SplitResult, headers: Mapping[str, str], body: bytes, tls: ssl.SSLContext | None) -> int:
    """Send a request and return the HTTP status, without reading the body; raise OSError or ValueError."""
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    sent = {"Host": url.netloc, **headers, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
    port = url.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(url.hostname, port, ssl=tls, limit=MAX_LINE_BYTES)
    try:
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()
        status = re.match(rb"HTTP/1\.[01] (\d{3})\b", await reader.readline())
    finally:
        writer.transport.abort()  # without waiting for the server
    if status is None:
        raise ValueError("the answer is not HTTP")
    return int(status[1])


_webhooks: dict[int, tuple[PluginContext[Settings], Webhook]] = {}  # by id of the context: one for each agent


@hookimpl
async def job_changed(context: PluginContext[Settings], event: JobEvent) -> float | None:
    if id(context) not in _webhooks:
        _webhooks[id(context)] = context, Webhook(context.settings, context.log)
    return await _webhooks[id(context)][1].handle(event)
