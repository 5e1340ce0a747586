"""Load the agent's certificate at its start: the configured files, or its own certificate, created as needed."""

import functools
import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from jobworker.config import Server
from jobworker.errors import StartError
from jobworker.paths import Home
from jobworker.private import reclaim, require_trusted
from jobworker.tls.context import Mismatch, Tls, plain, trust
from jobworker.tls.renewal import Renewal, renewal_due
from jobworker.tls.revoked import Revoked
from jobworker.units import seconds

log = logging.getLogger(__name__)


def load(home: Home, server: Server) -> Tls:
    """Return TLS with the files that are configured, else with those of the state folder; raise StartError."""
    cert, key = (server.cert, server.key) if server.cert else (home.tls / "server.pem", home.tls / "server.key")
    if not server.cert:
        for ours in (home.tls, home.tls / "server.key", home.tls / "ca.key"):
            reclaim(ours)
    tls = Tls(Path(cert), Path(key), Path(server.client_ca) if server.client_ca else None)
    tls.proxy_protocol = bool(server.proxy_protocol)
    return tls


def load_or_create(home: Home, server: Server, names: Sequence[str]) -> Tls:
    """Return TLS for these host names; if no files are configured, create or renew our own. Raises StartError."""
    if not server.cert and not (home.tls / "ca.pem").exists():
        from jobworker.tls import certificates  # here: the import takes a tenth of a second and is seldom needed

        certificates.make_all(home.tls, list(names))
    try:
        tls = load(home, server)
    except Mismatch:  # the agent was killed between replacing its own key and certificate
        if server.cert:
            raise
        _renew_own(home, names)
        return load(home, server)
    if server.cert:
        return tls
    named = set(map(plain, names)) <= set(tls.certificate.names)
    if not named or renewal_due(tls, home.tls / "ca.pem"):  # before the agent listens: no client gets one not valid
        try:
            _renew_own(home, names)
            tls.renew()
        except (StartError, OSError) as error:
            what = "cannot be renewed" if named else f"does not have all of {', '.join(names)}"
            log.warning("the certificate %s: %s", what, error)
    return tls


def require_own(server: Server) -> None:
    """Raise StartError, or what an import raises, if an agent could not create certificates or use its client CA."""
    from jobworker.tls import certificates  # noqa: F401

    if server.client_ca:
        trust(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Path(server.client_ca))


def load_revoked(home: Home, server: Server) -> Revoked:
    """Return the list of revoked client certificates; raise StartError for one that cannot be used."""
    revoked = Revoked(Path(server.revoked) if server.revoked else home.revoked)
    if server.revoked:
        require_trusted(revoked.path)
    try:
        revoked.read()
    except OSError as error:
        raise StartError(f"server.revoked: {revoked.path}: {error.strerror}") from error
    return revoked


def renewal(
    home: Home,
    server: Server,
    tls: Tls,
    names: Sequence[str],
    revoked: Revoked,
    end_revoked: Callable[[], None],
) -> Renewal:
    """Return the part that keeps the certificate valid, and ends revoked sessions, while the agent runs."""
    return Renewal(
        tls,
        None if server.cert else functools.partial(_renew_own, home, names),
        seconds(server.expiry_warning, "server.expiry_warning"),
        own_ca=None if server.cert else home.tls / "ca.pem",
        client_ca=Path(server.client_ca) if server.client_ca else None,
        revoked=revoked.path,
        end_revoked=end_revoked,
    )


def _renew_own(home: Home, names: Sequence[str]) -> None:
    from jobworker.tls import certificates

    certificates.renew(home.tls, list(names))
    log.info("the agent's own certificate was renewed")
