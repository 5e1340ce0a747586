"""Verify the server by CA or by pin, before anything is sent to it."""

import hashlib
import re
import socket
import ssl

from jobworker.client.endpoint import BLANKS, Endpoint
from jobworker.errors import ConnectionFailed
from jobworker.untrusted import CheckedObject, file_fault, keep_shown

PIN = re.compile(r"sha256:[0-9a-f]{64}")


class PinMismatch(ssl.SSLError):
    """The server presented another certificate than the pinned one; `shown` is its fingerprint."""

    def __init__(self, shown: str) -> None:
        super().__init__(f"its certificate is {shown}")
        self.shown = shown


def normal_pin(text: str) -> str:
    """Return a fingerprint in lower case and without colons; raise ValueError."""
    kind, colon, digits = text.strip(BLANKS).lower().partition(":")
    pin = f"{kind}:{digits.replace(':', '')}" if colon else ""
    if not PIN.fullmatch(pin):
        raise ValueError(f"pin: {text!r}; expected sha256: and 64 hexadecimal digits")
    return pin


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return a context that trusts what the endpoint names; raise ConnectionFailed if a file cannot be used.

    A handshake with any other server fails, so that no request and no token is sent to it.
    """
    used = [endpoint.ca]
    try:
        context = ssl.create_default_context(cafile=endpoint.ca)
        context.sslobject_class = CheckedObject
        if endpoint.insecure or (endpoint.pin and endpoint.ca is None):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if endpoint.pin and not endpoint.insecure:
            context.sslobject_class = _pinned(normal_pin(endpoint.pin))
        if endpoint.cert is not None:
            used = [endpoint.cert, endpoint.key]
            context.load_cert_chain(endpoint.cert, endpoint.key, password="")  # OpenSSL must not prompt for one
    except OSError as error:
        files = " and ".join(str(path) for path in used if path)
        raise ConnectionFailed(f"{files} cannot be used: {file_fault(error)}; expected PEM") from None
    except ValueError as error:
        raise ConnectionFailed(str(error)) from None
    return context


def _pinned(pin: str) -> type[ssl.SSLObject]:
    class Pinned(CheckedObject):
        """Fails the handshake unless the server presents the pinned certificate."""

        def do_handshake(self) -> None:
            super().do_handshake()
            _require_pin(self, pin)

    return Pinned


def _require_pin(peer: ssl.SSLObject | ssl.SSLSocket, pin: str) -> None:
    """Raise PinMismatch unless the server has presented the pinned certificate."""
    shown = f"sha256:{hashlib.sha256(peer.getpeercert(binary_form=True) or b'').hexdigest()}"
    if shown != pin:
        raise PinMismatch(shown)


def open_tls(sock: socket.socket, host: str, endpoint: Endpoint) -> ssl.SSLSocket:
    """Return TLS over a connected socket, within the socket's timeout; raise OSError if it is not trusted."""
    tls = tls_context(endpoint).wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    try:
        tls.do_handshake()
        if endpoint.pin and not endpoint.insecure:
            _require_pin(tls, normal_pin(endpoint.pin))
    except BaseException as error:
        if isinstance(error, ssl.SSLCertVerificationError):
            keep_shown(error, tls)
        tls.close()
        raise
    return tls
