"""What opening a connection needs besides a socket: headers, and the error if it fails."""

import base64
import ssl

from websockets.exceptions import InvalidStatus

from jobworker import errors
from jobworker.client.endpoint import Endpoint
from jobworker.client.trust import PinMismatch
from jobworker.protocol import BINARY_SUBPROTOCOL, SUBPROTOCOL
from jobworker.untrusted import explain_refusal

OPEN_SECONDS = 20.0  # for connection, TLS and upgrade together
SUBPROTOCOLS = (BINARY_SUBPROTOCOL, SUBPROTOCOL)


def usable_address(endpoint: Endpoint) -> str:
    """Return the address; raise ConnectionFailed if it is none of ours."""
    address = endpoint.address or ""
    if not address.startswith("wss://"):
        raise errors.ConnectionFailed(f"address: {endpoint.address!r}; expected wss://HOST:PORT/rpc")
    return address


def authorization(endpoint: Endpoint) -> dict[str, str]:
    """Return the header with the credentials, if there are any."""
    if endpoint.token:
        return {"Authorization": f"Bearer {endpoint.token}"}
    if endpoint.username is None:
        return {}
    pair = base64.b64encode(f"{endpoint.username}:{endpoint.password or ''}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def describe_failure(endpoint: Endpoint, error: Exception) -> errors.JobworkerError:
    """Return the error to raise if no connection came about: what failed, and what to do next."""
    address = endpoint.address
    if isinstance(error, InvalidStatus):
        text = (error.response.body or b"").decode(errors="replace").strip()
        status = error.response.status_code
        if status in (401, 403):
            hint = "is the token right?" if endpoint.token else ""
            return errors.Unauthenticated(f"{address} refused: {text}", hint=hint)
        return errors.ConnectionFailed(f"{address} answered {status}: {text}")
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
    reason = str(error) or type(error).__name__
    hint = "does the agent trust the CA of the client certificate? Its log has the reason" if endpoint.cert else ""
    return errors.ConnectionFailed(f"{address} cannot be reached: {reason}", hint=hint)
