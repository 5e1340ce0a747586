"""A TLS handshake in memory, of a client and a server that verify each other's certificates."""

import ssl
from pathlib import Path


def shake_hands(
    client: ssl.SSLContext, cert: Path, key: Path, name: str = "localhost", ca: Path | None = None
) -> None:
    """Raise SSLCertVerificationError if the client refuses the server's certificate, or the server the client's.

    The server has this certificate, and asks for one of the client if it has a `ca` for that.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    if ca is not None:
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_verify_locations(ca)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up, server_hostname=name), server.wrap_bio(up, down, server_side=True)]
    while ends:
        for end in [*ends]:
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass
