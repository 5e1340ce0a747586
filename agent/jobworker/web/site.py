"""Answer requests for the page and its files; it knows nothing of jobs, and every caller may read it."""

import re
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

from jobworker import __version__
from jobworker.web.files import File

INDEX = "index.html"
NONCE = b"{nonce}"  # in the page, where its nonce stands
VERSION = b"{version}"  # likewise: after an upgrade an open page sees that the agent is of another one
METHODS = ("GET", "HEAD")
# What the page may load and do: files of this agent alone, and nothing from a string. The nonce is for the one
# library that makes <style> elements; each response has another.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'nonce-{nonce}'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY.replace(" 'nonce-{nonce}'", ""),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Answer(NamedTuple):
    """The answer to a request; the headers that each HTTP answer has are added by the server."""

    status: HTTPStatus
    headers: dict[str, str]
    body: bytes


class Site:
    """The page at `/` below a prefix, and its files beside it."""

    def __init__(self, files: Mapping[str, File], prefix: str = "") -> None:
        """`prefix` is "" or a path as "/jobs"; no files: there is no page."""
        self._files = files
        self._prefix = prefix

    def answer(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """Return the answer; `path` is as it was sent, `headers` has Accept-Encoding and If-None-Match.

        Names of files are compared as they were sent: nothing is decoded, and `..` has no meaning.
        """
        path = path.partition("?")[0]
        below = path.startswith(f"{self._prefix}/")
        name = path[len(self._prefix) + 1 :] or INDEX
        file = self._files.get(name) if below else None
        if path and path == self._prefix and self._files:  # relative, as proxies may add prefixes of their own
            answer = _text(HTTPStatus.PERMANENT_REDIRECT, "the page is one / further", method)
            return answer._replace(headers=answer.headers | {"Location": f"{path.rpartition('/')[2]}/"})
        if file is None:
            there = f"the page is {self._prefix}/, the RPC /rpc" if self._files else "expected /rpc"
            return _text(HTTPStatus.NOT_FOUND, there, method)
        if method not in METHODS:
            answer = _text(HTTPStatus.METHOD_NOT_ALLOWED, f"expected {' or '.join(METHODS)}", method)
            return answer._replace(headers=answer.headers | {"Allow": ", ".join(METHODS)})
        return self._index(file, method) if name == INDEX else self._file(file, method, headers)

    def _index(self, file: File, method: str) -> Answer:
        """Return the page, with a nonce that its scripts read; so no browser may keep it."""
        nonce = secrets.token_urlsafe(16)
        body = file.content.replace(NONCE, nonce.encode()).replace(VERSION, __version__.encode())
        sent = HEADERS | {"Content-Security-Policy": POLICY.format(nonce=nonce)}
        sent |= {"Content-Type": file.type, "Cache-Control": "no-store", "Content-Length": str(len(body))}
        return Answer(HTTPStatus.OK, sent, b"" if method == "HEAD" else body)

    def _file(self, file: File, method: str, headers: Mapping[str, str]) -> Answer:
        body, etag = file.content, f'"{file.etag}"'
        # Browsers ask each time whether it has changed: an agent may be another version after a restart.
        sent = HEADERS | {"Content-Type": file.type, "Cache-Control": "no-cache"}
        if file.compressed is not None:
            sent["Vary"] = "Accept-Encoding"
            if _takes_gzip(headers.get("Accept-Encoding", "")):
                body, etag = file.compressed, f'"{file.etag}-gzip"'
                sent["Content-Encoding"] = "gzip"
        sent["ETag"] = etag
        if _matches(headers.get("If-None-Match", ""), etag):
            for name in ("Content-Type", "Content-Encoding"):
                sent.pop(name, None)
            return Answer(HTTPStatus.NOT_MODIFIED, sent, b"")
        sent["Content-Length"] = str(len(body))
        return Answer(HTTPStatus.OK, sent, b"" if method == "HEAD" else body)


def _text(status: HTTPStatus, text: str, method: str) -> Answer:
    body = f"{text}\n".encode()
    headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))}
    return Answer(status, HEADERS | headers | {"Cache-Control": "no-store"}, b"" if method == "HEAD" else body)


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding has gzip, by its name and not with the quality 0."""
    for item in accepted.lower().split(","):
        coding, _, quality = item.partition(";")
        if coding.strip() == "gzip":
            return not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", quality)
    return False


def _matches(known: str, etag: str) -> bool:
    """Whether an If-None-Match holds this tag; weak tags, which a proxy may have made of ours, match as well."""
    return known.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in known.split(","))
