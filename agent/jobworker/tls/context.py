"""The TLS context of the listener: the certificate that it presents, and the client CA that it accepts."""

import hashlib
import ipaddress
import logging
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobworker.errors import StartError
from jobworker.linux import descriptors
from jobworker.private import require_given
from jobworker.rate_limit import RateLimiter
from jobworker.tls import proxied
from jobworker.units import rfc3339, validity_fault
from jobworker.untrusted import file_fault

log = logging.getLogger(__name__)

NO_CHECK_TIME = ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME, which the module ssl does not name
CIPHERS = "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2: no CBC, no SHA-1, forward secrecy
DAY = 86400  # seconds
LOG_LINES = RateLimiter(1, 30)  # a second, for failed handshakes: strangers must not fill the disk


class Mismatch(StartError):
    """The key does not belong to the certificate: perhaps the files are being replaced."""


@dataclass(frozen=True)
class Certificate:
    """The certificate that the agent presents; times are seconds since 1970."""

    not_before: float
    not_after: float
    names: list[str]
    fingerprint: str

    @property
    def left(self) -> float:
        """Seconds for which it is still valid; below 0 it has expired."""
        return self.not_after - time.time()

    @property
    def fault(self) -> str:
        """Why it is not valid now, as `expired at TIME, 2 days ago`; "" if it is."""
        return validity_fault(self.not_before, self.not_after, time.time())

    @property
    def old(self) -> bool:
        """Whether less than a third of its validity is left, so that it should be renewed."""
        return self.left < (self.not_after - self.not_before) / 3

    @property
    def end(self) -> str:
        """When it expires, RFC 3339."""
        return rfc3339(int(self.not_after) * 10**9)

    def describe(self) -> dict[str, Any]:
        """Return `tls` of `agent.info`."""
        return {
            "not_after": self.end,
            "days_left": int(self.left // DAY),
            "fingerprint": self.fingerprint,
            "names": self.names,
        }


class Tls(ssl.SSLContext):
    """The context that the listener keeps; each new connection uses the files as they were last read.

    A context in use cannot drop a CA or the sessions that clients may resume. So renewed files are read into a new
    context, and an old context lives as long as its connections.
    """

    def __new__(cls, cert: Path, key: Path, client_ca: Path | None) -> "Tls":
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._files = cert, key, client_ca
        self.files = [path for path in self._files if path is not None]
        # Whether connections may begin with a header of the PROXY protocol; the listener decides whose counts.
        self.proxy_protocol = False
        # The context of new connections, and the certificate that it presents.
        self._current, self.certificate = self._read()

    def _read(self) -> tuple[ssl.SSLContext, Certificate]:
        self.seen = self.signature()  # before reading: a change while the files are read then counts as a later one
        context = _context(*self._files)
        return context, _presented(context, self._files[0])

    def renew(self) -> None:
        """Read the files again; raise StartError, and keep the certificate in use, if they cannot be used."""
        context, certificate = self._read()
        if certificate.fault:
            raise StartError(f"{self._files[0]} {certificate.fault}")
        self._current, self.certificate = context, certificate

    def signature(self) -> list[tuple[int, ...]]:
        """Return the inodes, sizes and times of the files: a changed file changes them."""
        stats: list[tuple[int, ...]] = []
        for path in self.files:
            try:
                info = path.stat()
                stats.append((info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns))
            except OSError:
                stats.append(())
        return stats

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        wrapped = self._current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        if self.proxy_protocol and isinstance(wrapped, _Handshake):
            wrapped.header_in = incoming
        return wrapped


def _context(cert: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and later; raise StartError for files that cannot or must not be used."""
    for path in (cert, key):
        if not path.is_file():
            fault = "is not a regular file" if path.exists() else "there is no such file"
            raise StartError(f"{path}: {fault}; expected a certificate and its key in PEM")
    require_given(key)  # a link is followed: tools that renew certificates replace symbolic links
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _Handshake  # logs failures
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    try:
        context.load_cert_chain(cert, key, password="")  # else OpenSSL asks for one at the terminal
    except (ssl.SSLError, OSError) as error:
        kind = Mismatch if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH" else StartError
        raise kind(f"{cert}, {key}: not a certificate and its key in PEM: {file_fault(error)}") from error
    if client_ca is not None:
        trust(context, client_ca)
    return context


def trust(context: ssl.SSLContext, client_ca: Path) -> None:
    """Request a certificate of clients and accept only this CA; a client without a certificate can still connect."""
    try:
        context.load_verify_locations(client_ca)
    except (ssl.SSLError, OSError) as error:
        raise StartError(
            f"server.client_ca: {client_ca}: {file_fault(error)}; expected CA certificates in PEM"
        ) from error
    if not context.cert_store_stats()["x509_ca"]:
        raise StartError(f"server.client_ca: {client_ca}: holds no CA; expected CA certificates in PEM")
    context.verify_mode = ssl.CERT_OPTIONAL  # clients may log in with a token instead


def _presented(context: ssl.SSLContext, cert: Path) -> Certificate:
    """Return the certificate as clients get it, by a handshake in memory; raise StartError if that fails.

    The module ssl parses only the certificate of a verified peer.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False  # only the certificate is wanted, whatever its names
    # Trust the certificate itself, without its CA and even if it has expired.
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        client.load_verify_locations(cert)
        peer = client.wrap_bio(down, up)
        ends = [peer, context.wrap_bio(up, down, server_side=True)]
        while ends:  # until both ends have finished the handshake
            for end in [*ends]:
                try:
                    end.do_handshake()
                    ends.remove(end)
                except ssl.SSLWantReadError:
                    pass
        fields = peer.getpeercert()
        encoded = peer.getpeercert(binary_form=True)
    except (ssl.SSLError, OSError) as error:
        raise StartError(f"{cert}: no client could use it: {error}") from error
    assert fields
    assert encoded
    names: Any = fields.get("subjectAltName", ())  # pairs of kind and name
    return Certificate(
        ssl.cert_time_to_seconds(str(fields["notBefore"])),
        ssl.cert_time_to_seconds(str(fields["notAfter"])),
        [plain(name) for _, name in names],
        f"sha256:{hashlib.sha256(encoded).hexdigest()}",
    )


def ca_faults(path: Path) -> Iterator[str]:
    """Yield for each CA in a PEM file that is not valid now its name and why; raise StartError for another file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        raise StartError(f"{path}: {file_fault(error)}; expected CA certificates in PEM") from error
    for ca in context.get_ca_certs():
        begin, end = (ssl.cert_time_to_seconds(str(ca[key])) for key in ("notBefore", "notAfter"))
        if fault := validity_fault(begin, end, time.time()):
            yield f"{_common_name(ca)} {fault}"


def _common_name(certificate: dict[str, Any]) -> str:
    pairs = [pair for part in certificate.get("subject", ()) for pair in part]
    return next((value for name, value in reversed(pairs) if name == "commonName"), "a CA without a name")


def plain(name: str) -> str:
    """Return a name in the form for comparison: an IP address in its shortest form."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


class _Handshake(ssl.SSLObject):
    """A handshake whose failure is logged: the event loop closes such a connection without a line."""

    # What has arrived, until the header of a proxy was looked for before the handshake; None from then on.
    header_in: ssl.MemoryBIO | None = None
    # The address of the client in that header, LOCAL if it is the proxy; None: there was no header.
    proxied: str | None = None

    def _take_header(self, incoming: ssl.MemoryBIO) -> None:
        """Take the header of a proxy from what has arrived; raise SSLWantReadError until all of it is there."""
        data = incoming.read()
        try:
            found = proxied.read_header(data)
        except ValueError as error:
            raise ssl.SSLError(f"the header of the PROXY protocol is malformed: {error}") from error
        if found is None:
            incoming.write(data)
            raise ssl.SSLWantReadError
        size, self.proxied = found
        incoming.write(data[size:])
        self.header_in = None

    def do_handshake(self) -> None:
        if descriptors.left() < descriptors.RESERVED // 2:  # a client that sends nothing has a descriptor too
            raise ssl.SSLError("too many files are open")
        try:
            if self.header_in is not None:
                self._take_header(self.header_in)
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLCertVerificationError as error:
            if LOG_LINES.allows("certificate", time.monotonic()):
                log.warning(
                    "a connection was closed: its client certificate is not trusted: %s", error.verify_message
                )
            raise
        except ssl.SSLError as error:
            if LOG_LINES.allows("TLS", time.monotonic()):
                log.warning("a connection was closed: its TLS handshake failed: %s", error.reason or error)
            raise
