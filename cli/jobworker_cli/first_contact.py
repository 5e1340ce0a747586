"""Try an agent before a context of it is stored: which server answers there, and whether it knows the credentials."""

import hashlib
import sys

from jobworker.client.endpoint import UNIX, Endpoint
from jobworker.client.probe import presented, verify
from jobworker.errors import ConnectionFailed
from jobworker_cli import output
from jobworker_cli.endpoint import Choice

UNCHECKED = "--no-check stores the context all the same"


def trusted(context: Endpoint) -> Endpoint:
    """Return the context once its server is trusted: by CA, pin, the CAs of the system, or by the user's word.

    No credentials are sent. Raises ConnectionFailed.
    """
    assert context.address is not None
    if context.address.startswith(UNIX):
        return context
    try:
        certificate = presented(context)
    except ConnectionFailed as error:
        raise ConnectionFailed(
            error.message, hint=f"{error.hint}; or {UNCHECKED}" if error.hint else UNCHECKED
        ) from None
    pin = f"sha256:{hashlib.sha256(certificate).hexdigest()}"
    try:
        verify(context)
    except ConnectionFailed as error:
        if context.ca is not None or context.pin is not None:
            raise
        _describe(context.address, certificate, pin)
        if not _confirmed():
            hint = f"compare it with `jw agent info` on its host; if it is the same: --pin {pin}"
            raise ConnectionFailed(error.message, hint=hint) from None
        return context.replaced(pin=pin)
    output.note(f"the certificate of {context.address} is {pin}")
    return context


def _describe(address: str, certificate: bytes, pin: str) -> None:
    """Show the certificate that a server presents."""
    from cryptography import x509  # slow to import

    from jobworker.tls import certificates

    described = certificates.describe(x509.load_der_x509_certificate(certificate))
    output.note(f"{address} presents a certificate that no known CA has signed:")
    output.note(f"  {pin}")
    output.note(f"  of {described['subject']} for {', '.join(described['names'])}, until {described['not_after']}")


def _confirmed() -> bool:
    """Ask whether to trust it; no if there is no terminal to ask on."""
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    import click  # slow to import

    try:
        return click.confirm("Is it the one that `jw agent info` shows on its host?", default=False, err=True)
    except click.Abort:  # Ctrl-C
        raise KeyboardInterrupt from None


def logged_in(context: Endpoint) -> None:
    """Log in with the credentials of a context, if it has any, and note the principal; raise JobworkerError."""
    if context.token is None and context.cert is None:
        return
    with Choice(context).blocking() as client:
        caller = client.call("auth.whoami")
    roles = ", ".join(caller["roles"]) or "no role"
    output.note(f"{context.address} knows you as {caller['name']} ({roles})")
