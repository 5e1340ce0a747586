"""Stop strategy `http`: ask the job over HTTP to finish its work, wait, then send SIGTERM and SIGKILL."""

import asyncio
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from jobworker.interfaces import JobHandle, PluginContext, StopOptions, StopStrategy, hookimpl, positive

EXPECTED = 'expected {"url": "http://127.0.0.1:8080/drain", "method": "POST", "timeout": "5s", "wait": "30s"}'
OPTIONS = {"url", "method", "timeout", "wait"}
TIMEOUT, WAIT = 5.0, 30.0  # seconds for the answer, and for the end of the job after it
MAX_LINE_BYTES = 1024  # of a status line
METHODS = ("POST", "PUT", "GET", "DELETE")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[plugins.http-stop]`: the `hosts` that the agent may call for any client that may create jobs."""

    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "::1")


class HttpStop:
    name = "http"

    def __init__(self, settings: Settings, log: logging.Logger) -> None:
        self._hosts = settings.hosts
        self._log = log

    def check(self, options: Mapping[str, Any]) -> None:
        if not {"url"} <= set(options) <= OPTIONS or not isinstance(options["url"], str):
            raise ValueError(f"{dict(options)!r}; {EXPECTED}")
        url = urlsplit(options["url"])
        if url.scheme != "http" or url.hostname not in self._hosts or url.username is not None:
            raise ValueError(f"url: {options['url']!r}; expected http:// to one of {', '.join(self._hosts)}")
        text = options["url"]
        if not 0 < (url.port or 80) < 65536 or not (text.isascii() and text.isprintable()) or " " in text:
            raise ValueError(f"url: {options['url']!r}; {EXPECTED}")
        if options.get("method", "POST") not in METHODS:
            raise ValueError(f"method: {options['method']!r}; expected one of {', '.join(METHODS)}")
        _seconds(options, "timeout", TIMEOUT)
        _seconds(options, "wait", WAIT)

    def longest(self, options: StopOptions) -> float:
        timeout, wait = _seconds(options.options, "timeout", TIMEOUT), _seconds(options.options, "wait", WAIT)
        return timeout + wait + options.grace

    async def stop(self, job: JobHandle, options: StopOptions) -> None:
        """Call the endpoint; if that fails or the job does not end in time, send signals."""
        url, method = options.options["url"], options.options.get("method", "POST")
        timeout, wait = _seconds(options.options, "timeout", TIMEOUT), _seconds(options.options, "wait", WAIT)
        await job.asked(f"{method} {url}")
        try:
            async with asyncio.timeout(timeout):
                status = await call(method, url)
        except (OSError, ValueError) as error:
            self._log.warning("job %s cannot be asked to end: %s", job.job.id, str(error) or "no answer in time")
        else:
            if status >= 400:
                self._log.warning("job %s does not end by it: HTTP status %d", job.job.id, status)
            elif await job.wait(wait):
                return
        await job.signal(options.signal)
        if not await job.wait(options.grace):
            await job.signal("SIGKILL")


async def call(method: str, url: str) -> int:
    """Send a request and return the HTTP status, without reading the body; raise OSError or ValueError."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}", "Content-Length: 0", "Connection: close", "", ""]
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, limit=MAX_LINE_BYTES)
    try:
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        status = re.match(rb"HTTP/1\.[01] (\d{3})\b", await reader.readline())
    finally:
        writer.close()
    if status is None:
        raise ValueError("the answer is not HTTP")
    return int(status[1])


def _seconds(options: Mapping[str, Any], name: str, default: float) -> float:
    return positive(options.get(name, default), name)


@hookimpl
def register_stop_strategies(context: PluginContext[Settings]) -> Iterable[StopStrategy]:
    return [HttpStop(context.settings, context.log)]
