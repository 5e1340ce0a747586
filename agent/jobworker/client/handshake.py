"""What opening a connection needs besides a socket: headers, and the error if it fails."""

import base64
import os
import re

from jobworker import errors
from jobworker.client.endpoint import UNIX, Endpoint, normal_address, normal_token
from jobworker.protocol import BINARY_SUBPROTOCOL, SUBPROTOCOL

UNIX_URL = "ws://localhost/rpc"  # what is requested there, without TLS: only its two ends can read it
OPEN_SECONDS = 20.0  # for connection, TLS and upgrade together
SUBPROTOCOLS = (BINARY_SUBPROTOCOL, SUBPROTOCOL)
# What to do next, by what failed; the first kind that fits counts.
LOSSES: dict[type[Exception], str] = {
    ConnectionRefusedError: "does an agent run there, and listen on this port?",
    ConnectionError: "the agent ended in this moment, or cut the connection: try again; its log may have the reason",
    TimeoutError: "is the host on, and does a firewall let this port through?",
}
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # of the W3C's Trace Context
MAX_ANSWER_BYTES = 300  # of an answer that is no upgrade, in an error
# HTTP statuses.
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404
HINTS = {
    FORBIDDEN: "connect by a name of the agent, or add this name to server.names in its configuration",
    NOT_FOUND: "is the path right? An agent is at wss://HOST:PORT/rpc",
    429: "too many failed logins: try again later",
    503: "the agent, or a proxy before it, has no room: try again later, or see limits.connections",
}


def usable_address(endpoint: Endpoint) -> str:
    """Return the address; raise ConnectionFailed if it is none of ours."""
    try:
        return normal_address(endpoint.address or "")
    except ValueError as error:
        raise errors.ConnectionFailed(str(error)) from None


def unix_path(address: str) -> str | None:
    """Return the path of a Unix socket; None for an address of a port."""
    return address[len(UNIX) - 1 :] if address.startswith(UNIX) else None


CERT_HINT = "does the agent trust the CA of the client certificate? Its log has the reason"


def headers(endpoint: Endpoint) -> dict[str, str]:
    """Return the headers of the upgrade besides the usual ones; raise ConnectionFailed for a malformed token.

    If this process is part of a trace, by `TRACEPARENT` in its environment, so are its requests.
    """
    traceparent = os.environ.get("TRACEPARENT", "")
    trace = {"traceparent": traceparent} if TRACEPARENT.fullmatch(traceparent) else {}
    return authorization(endpoint) | trace


def authorization(endpoint: Endpoint) -> dict[str, str]:
    """Return the header with the credentials, if there are any; raise ConnectionFailed for a malformed token."""
    if endpoint.token:
        try:
            return {"Authorization": f"Bearer {normal_token(endpoint.token)}"}
        except ValueError as error:
            raise errors.ConnectionFailed(str(error)) from None
    if endpoint.username is None:
        return {}
    pair = base64.b64encode(
        f"{endpoint.username}:{endpoint.password or ''}".encode(errors="surrogateescape")
    ).decode()
    return {"Authorization": f"Basic {pair}"}


def describe_failure(endpoint: Endpoint, error: Exception) -> errors.JobworkerError:
    """Return the error to raise if no connection came about: what failed, and what to do next."""
    import ssl  # slow to import, as the others, and a Unix socket needs none of them

    from websockets.exceptions import InvalidStatus, WebSocketException

    from jobworker.client.blocking.plain_protocol import NotUpgraded
    from jobworker.client.trust import PinMismatch
    from jobworker.untrusted import explain_refusal

    address = endpoint.address
    if isinstance(error, NotUpgraded) and error.status:
        return _describe_answer(endpoint, error.status, error.body)
    if isinstance(error, InvalidStatus):
        return _describe_answer(endpoint, error.response.status_code, bytes(error.response.body or b""))
    if isinstance(error, ssl.SSLCertVerificationError):
        usual = error.verify_message, "give its CA with --ca or JW_CA, or its fingerprint with --pin or JW_PIN"
        reason, hint = explain_refusal(error, endpoint.ca) or usual
        return errors.ConnectionFailed(f"{address} is not trusted: {reason}", hint=hint)
    if isinstance(error, PinMismatch):
        return errors.ConnectionFailed(
            f"{address} is not trusted: its certificate is {error.shown}, the pinned one {endpoint.pin}",
            hint="if it was renewed, pin the new one (on its host: jw agent info); "
            "if it was not, another server answers at this address",
        )
    if isinstance(error, WebSocketException | NotUpgraded):
        # The texts of the library may have parts of the request, and so a secret.
        reason, hint = (
            "what answers there is no agent",
            # In TLS 1.3 a client certificate is refused only after the handshake: the connection just ends.
            CERT_HINT if endpoint.cert else "is another server at this port, or a proxy before the agent?",
        )
        return errors.ConnectionFailed(f"{address} cannot be reached: {reason} ({type(error).__name__})", hint=hint)
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    known = (hint for kind, hint in LOSSES.items() if isinstance(error, kind))
    hint = CERT_HINT if endpoint.cert else next(known, "")
    return errors.ConnectionFailed(f"{address} cannot be reached: {reason}", hint=hint)


def _describe_answer(endpoint: Endpoint, status: int, body: bytes) -> errors.JobworkerError:
    """Return the error for an HTTP answer in place of an upgrade, with a hint that fits its cause."""
    text = body[:MAX_ANSWER_BYTES].decode(errors="replace").strip().partition("\n")[0]
    address = endpoint.address
    if status == UNAUTHORIZED:
        return errors.Unauthenticated(f"{address} refused: {text}", hint=_about_credentials(endpoint))
    if status == FORBIDDEN:
        return errors.ConnectionFailed(f"{address} refused: {text}", hint=HINTS[status])
    return errors.ConnectionFailed(f"{address} answered {status}: {text}", hint=HINTS.get(status, ""))


def _about_credentials(endpoint: Endpoint) -> str:
    """Return a question about what the client has shown."""
    if endpoint.token:
        return "is the token right, and for this agent?"
    if endpoint.username is not None:
        return "are user name and password right?"
    return "does the agent accept the client certificate?" if endpoint.cert else ""
