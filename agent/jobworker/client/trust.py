"""Decide whether the server is who it should be, before anything is sent to it."""

import hashlib
import re
import ssl

from jobworker.client.local import Target
from jobworker.errors import ConnectionFailed
from jobworker.untrusted import CheckedObject

PIN = re.compile(r"sha256:[0-9a-f]{64}")


class PinMismatch(ssl.SSLError):
    """The server showed another certificate than the pinned one; `shown` is its fingerprint."""

    def __init__(self, shown: str) -> None:
        super().__init__(f"its certificate is {shown}")
        self.shown = shown


def normal_pin(text: str) -> str:
    """Return a fingerprint as it is compared: colons and capitals do not matter. Raise ValueError."""
    kind, colon, digits = text.strip().lower().partition(":")
    pin = f"{kind}:{digits.replace(':', '')}" if colon else ""
    if not PIN.fullmatch(pin):
        raise ValueError(f"pin: {text!r}; expected sha256: and 64 hexadecimal digits")
    return pin


def tls_context(target: Target) -> ssl.SSLContext:
    """Return a context that trusts what the target says; raise ConnectionFailed for what cannot be used.

    A handshake with anybody else fails, so that no request, and no token, goes out.
    """
    used = [target.ca]
    try:
        context = ssl.create_default_context(cafile=target.ca)
        context.sslobject_class = CheckedObject
        if target.insecure or (target.pin and target.ca is None):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if target.pin and not target.insecure:
            context.sslobject_class = _pinned(normal_pin(target.pin))
        if target.cert is not None:
            used = [target.cert, target.key]
            context.load_cert_chain(target.cert, target.key, password="")  # and nobody is asked for one
    except OSError as error:
        files = " and ".join(str(path) for path in used if path)
        raise ConnectionFailed(f"{files} cannot be used: {error}; expected PEM") from None
    except ValueError as error:
        raise ConnectionFailed(str(error)) from None
    return context


def _pinned(pin: str) -> type[ssl.SSLObject]:
    class Pinned(CheckedObject):
        """Ends its handshake with an error unless the server has shown the pinned certificate."""

        def do_handshake(self) -> None:
            super().do_handshake()
            shown = f"sha256:{hashlib.sha256(self.getpeercert(binary_form=True) or b'').hexdigest()}"
            if shown != pin:
                raise PinMismatch(shown)

    return Pinned
