"""Requests for the page in the browser, which come by the port of the RPC: from and to the types of websockets."""

from email.utils import formatdate

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from jobworker.web.site import Site


def respond(site: Site, request: Request) -> Response:
    """Return the response to a request for the page or one of its files."""
    # A header that comes several times is a list with commas.
    headers = {name: ", ".join(request.headers.get_all(name)) for name in ("Accept-Encoding", "If-None-Match")}
    answer = site.answer(request.method, request.path, headers)
    sent = Headers({"Date": formatdate(usegmt=True), "Connection": "close"} | answer.headers)
    return Response(answer.status.value, answer.status.phrase, sent, answer.body)
