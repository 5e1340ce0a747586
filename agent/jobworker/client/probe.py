"""Look at the certificate of a server, and verify it, before anything else is sent to it."""

import socket
import ssl
from urllib.parse import urlsplit

from jobworker.client.endpoint import Endpoint
from jobworker.client.handshake import OPEN_SECONDS, describe_failure
from jobworker.client.trust import open_tls

HTTPS_PORT = 443


def presented(endpoint: Endpoint) -> bytes:
    """Return the certificate that the server presents, in DER, signed by any CA; raise ConnectionFailed."""
    return _handshake(endpoint.replaced(insecure=True, ca=None, pin=None))


def verify(endpoint: Endpoint) -> None:
    """Raise ConnectionFailed unless the endpoint trusts what the server presents."""
    _handshake(endpoint)


def _handshake(endpoint: Endpoint) -> bytes:
    """Return the certificate of the server after a handshake; no request and no credentials are sent."""
    parts = urlsplit(endpoint.address or "")
    endpoint = endpoint.replaced(token=None, username=None, password=None, cert=None, key=None)
    host = parts.hostname or ""
    try:
        with socket.create_connection((host, parts.port or HTTPS_PORT), OPEN_SECONDS) as sock:
            sock.settimeout(OPEN_SECONDS)
            with open_tls(sock, host, endpoint) as tls:
                return tls.getpeercert(binary_form=True) or b""
    except (OSError, ssl.SSLError) as error:
        raise describe_failure(endpoint, error) from None
