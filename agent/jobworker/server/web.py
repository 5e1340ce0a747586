"""Requests for the page in the browser, which come by the port of the RPC: from and to the types of websockets."""

from email.utils import formatdate

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from jobworker.server.requests import KEEP
from jobworker.web.site import Site


def respond(site: Site, request: Request, *, kept: bool) -> Response:
    """Return the response to a request for the page or one of its files; `kept`: the next request may come after it.

    A browser loads some dozens of files at once, and would open a connection with TLS for each of them.
    """
    # A header that comes several times is a list with commas.
    names = ("Accept-Encoding", "Connection", "If-None-Match")
    headers = {name: ", ".join(request.headers.get_all(name)) for name in names}
    answer = site.answer(request.method, request.path, headers)
    kept = kept and request.protocol == "HTTP/1.1" and headers["Connection"].lower() in ("", KEEP)
    how = {"Date": formatdate(usegmt=True), "Connection": KEEP if kept else "close"}
    return Response(answer.status.value, answer.status.phrase, Headers(how | answer.headers), answer.body)
