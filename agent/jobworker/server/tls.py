"""TLS of the agent: the certificate it shows, and whose client certificates it takes."""

import logging
import ssl
from pathlib import Path

from jobworker.errors import StartError
from jobworker.paths import require_private

log = logging.getLogger(__name__)


class Tls(ssl.SSLContext):
    """What the listener holds: each connection is made with what was read from the files last.

    A context that is used cannot forget a CA, nor the sessions that its clients may resume. So the files are read
    into another one, and an old one lasts as long as its connections.
    """

    def __new__(cls, cert: Path, key: Path, client_ca: Path | None) -> "Tls":
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._files = (cert, key, client_ca)
        self.renew()

    def renew(self) -> None:
        """Read the files again; raise StartError, with all as it was, where they cannot be used."""
        self._current = _context(*self._files)

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return self._current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def _context(cert: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and later; raise StartError for files that cannot or must not be used."""
    for path in (cert, key):
        if not path.is_file():
            raise StartError(f"{path}: there is no such file; expected a certificate and its key in PEM")
    require_private(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _Handshake
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        raise StartError(f"{cert}, {key}: not a certificate and its key: {error}") from error
    if client_ca is not None:
        _trust(context, client_ca)
    return context


def _trust(context: ssl.SSLContext, client_ca: Path) -> None:
    """Ask clients for a certificate, and take those of this CA alone; who has none may still come."""
    try:
        context.load_verify_locations(client_ca)
    except (ssl.SSLError, OSError) as error:
        raise StartError(f"server.client_ca: {client_ca}: {error}; expected CA certificates in PEM") from error
    if not context.cert_store_stats()["x509_ca"]:
        raise StartError(f"server.client_ca: {client_ca}: holds no CA; expected CA certificates in PEM")
    context.verify_mode = ssl.CERT_OPTIONAL


class _Handshake(ssl.SSLObject):
    """Writes one line where a client fails in TLS, or speaks something else: the event loop drops it in silence."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLCertVerificationError as error:
            log.warning("a connection was closed: its client certificate is not trusted: %s", error.verify_message)
            raise
        except ssl.SSLError as error:
            log.warning("a connection was closed that is not TLS as we speak it: %s", error.reason or error)
            raise
