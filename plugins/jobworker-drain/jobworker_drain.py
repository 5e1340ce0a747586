"""Stop strategy `drain`: ask the job over HTTP to finish what it is at, wait for that, then TERM and KILL."""

import asyncio
import http.client
import logging
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from jobworker.interfaces import JobHandle, PluginContext, StopOptions, StopStrategy, hookimpl, positive

EXPECTED = 'expected {"url": "http://127.0.0.1:8080/drain", "method": "POST", "timeout": "5s", "wait": "30s"}'
OPTIONS = {"url", "method", "timeout", "wait"}
TIMEOUT, WAIT = 5.0, 30.0  # seconds
METHODS = ("POST", "PUT", "GET", "DELETE")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[plugins.drain]`: `hosts` that may be called, for the agent does so in the name of any caller."""

    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "::1")


class Drain:
    name = "drain"

    def __init__(self, settings: Settings, log: logging.Logger) -> None:
        self._hosts = settings.hosts
        self._log = log

    def check(self, options: Mapping[str, Any]) -> None:
        if not {"url"} <= set(options) <= OPTIONS or not isinstance(options["url"], str):
            raise ValueError(f"{dict(options)!r}; {EXPECTED}")
        url = urlsplit(options["url"])
        if url.scheme != "http" or url.hostname not in self._hosts or url.username is not None:
            raise ValueError(f"url: {options['url']!r}; expected http:// to one of {', '.join(self._hosts)}")
        if not 0 < (url.port or 80) < 65536 or not options["url"].isprintable() or " " in options["url"]:
            raise ValueError(f"url: {options['url']!r}; {EXPECTED}")
        if options.get("method", "POST") not in METHODS:
            raise ValueError(f"method: {options['method']!r}; expected one of {', '.join(METHODS)}")
        _seconds(options, "timeout", TIMEOUT)
        _seconds(options, "wait", WAIT)

    def longest(self, options: StopOptions) -> float:
        given = options.options
        return _seconds(given, "timeout", TIMEOUT) + _seconds(given, "wait", WAIT) + options.grace

    async def stop(self, job: JobHandle, options: StopOptions) -> None:
        given = options.options
        method, timeout = given.get("method", "POST"), _seconds(given, "timeout", TIMEOUT)
        await job.asked(f"{method} {given['url']}")
        try:
            status = await asyncio.to_thread(call, method, given["url"], timeout)
        except (OSError, http.client.HTTPException) as error:
            self._log.warning("job %s cannot be asked to drain: %s", job.job.id, error)
        else:
            if status >= 400:
                self._log.warning("job %s does not drain: HTTP status %d", job.job.id, status)
            elif await job.wait(_seconds(given, "wait", WAIT)):
                return
        await job.signal(options.signal)
        if not await job.wait(options.grace):
            await job.signal("SIGKILL")


def call(method: str, url: str, timeout: float) -> int:
    """Return the status of the answer; no redirect is followed. Raises OSError, HTTPException."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body=b"" if method in ("POST", "PUT") else None)
        return connection.getresponse().status
    finally:
        connection.close()


def _seconds(options: Mapping[str, Any], name: str, default: float) -> float:
    return positive(options.get(name, default), name)


@hookimpl
def register_stop_strategies(context: PluginContext[Settings]) -> Iterable[StopStrategy]:
    return [Drain(context.settings, context.log)]
