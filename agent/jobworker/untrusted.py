"""Explain why a certificate is refused: by its time, or by the stricter checks of Python 3.13 and later.

Since 3.13 `ssl.create_default_context` sets VERIFY_X509_STRICT: certificates must have what RFC 5280 demands.
The error of OpenSSL has what is missing, but neither in which certificate nor how to add it.
"""

import ssl
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jobworker.units import rfc3339, validity_fault

if TYPE_CHECKING:
    from cryptography import x509


class Fault(NamedTuple):
    """One reason to refuse a certificate. `remedy` is the line of an OpenSSL extension file that removes it."""

    code: int  # X509_V_ERR_* of OpenSSL, which the module ssl does not name
    what: str
    remedy: str


NO_AUTHORITY_KEY = Fault(85, "no Authority Key Identifier", "authorityKeyIdentifier = keyid")
NO_SUBJECT_KEY = Fault(86, "no Subject Key Identifier", "subjectKeyIdentifier = hash")
NO_SUBJECT = Fault(88, "no subject, and names that are not critical", "subjectAltName = critical, …")
LAX_CONSTRAINTS = Fault(89, "Basic Constraints that are not critical", "basicConstraints = critical, CA:true")
NO_KEY_USAGE = Fault(92, "no Key Usage", "keyUsage = critical, keyCertSign, cRLSign")
FAULTS = {
    fault.code: fault for fault in (NO_AUTHORITY_KEY, NO_SUBJECT_KEY, NO_SUBJECT, LAX_CONSTRAINTS, NO_KEY_USAGE)
}


BEYOND = 47  # X509_V_ERR_PERMITTED_VIOLATION: a name is outside of the name constraints of a CA
TIMES = {9: "is not yet valid", 10: "has expired"}  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


class CheckedObject(ssl.SSLObject):
    """A handshake whose error has, as `shown`, the certificates that the server sent, in DER."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            keep_shown(error, self)
            raise


def keep_shown(error: ssl.SSLCertVerificationError, peer: ssl.SSLObject | ssl.SSLSocket) -> None:
    """Keep in the error, as `shown`, the certificates that the server has sent: none before Python 3.13."""
    chain = getattr(peer, "get_unverified_chain", lambda: None)()
    error.shown = list(chain or ())  # type: ignore[attr-defined]


def explain_refusal(error: ssl.SSLCertVerificationError, ca: Path | None = None) -> tuple[str, str] | None:
    """Return which certificate has which fault, and a hint; None if the error is of another kind.

    With a clock that is wrong, the fault is how far the time is from its validity.

    The certificate is looked for in the error's `shown` (see `CheckedObject`) and in the file `ca`.
    """
    if error.verify_code in TIMES:
        return _wrong_time(error, ca)
    if error.verify_code == BEYOND:
        place = f"the CA in {ca}" if ca is not None else "its CA"
        hint = "was a name added to the agent? Copy ca.pem from its host again: it was made again, with the same key"
        return f"its certificate has names for which {place} may not sign", hint
    fault = FAULTS.get(error.verify_code)
    if fault is None:
        return None
    which, again = "a certificate of its chain", "have it signed again"
    for certificate, place in _candidates(getattr(error, "shown", ()), ca):
        if fault in faults(certificate):
            which = f"the certificate {certificate.subject.rfc4514_string() or 'without a subject'} {place}"
            if fault in (NO_SUBJECT_KEY, LAX_CONSTRAINTS, NO_KEY_USAGE):  # of a CA
                again = "sign that CA again (with its key and name, so that what it has signed stays valid)"
            break
    hint = f"{again} with `{fault.remedy}`; `jw cert show FILE` lists what a certificate lacks"
    return f"{which} has {fault.what}, which Python 3.13 and later refuse", hint


def _wrong_time(error: ssl.SSLCertVerificationError, ca: Path | None) -> tuple[str, str]:
    """Return which certificate is not valid by the clock of this host, by how much, and a hint."""
    now = time.time()
    what = f"its certificate {TIMES[error.verify_code]}"
    for certificate, place in _candidates(getattr(error, "shown", ()), ca):
        begin, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
        if fault := validity_fault(begin, end, now):
            what = f"the certificate {certificate.subject.rfc4514_string()} {place} {fault}"
            break
    return (
        f"{what}; the clock of this host is at {rfc3339(int(now) * 10**9)}",
        "is that the right time, and is the clock of the agent's host right? If both are: jw cert renew there",
    )


def faults(certificate: "x509.Certificate") -> list[Fault]:
    """Return the faults for which the stricter checks refuse a certificate."""
    from cryptography import x509  # here: the import takes a tenth of a second and is seldom needed

    reasons = []
    extensions = {type(extension.value): extension for extension in certificate.extensions}
    authority = extensions.get(x509.AuthorityKeyIdentifier)
    if certificate.issuer != certificate.subject and not (authority and authority.value.key_identifier):
        reasons.append(NO_AUTHORITY_KEY)
    names = extensions.get(x509.SubjectAlternativeName)
    if not list(certificate.subject) and not (names and names.critical):
        reasons.append(NO_SUBJECT)
    constraints = extensions.get(x509.BasicConstraints)
    if constraints and constraints.value.ca:
        if x509.SubjectKeyIdentifier not in extensions:
            reasons.append(NO_SUBJECT_KEY)
        if not constraints.critical:
            reasons.append(LAX_CONSTRAINTS)
        if x509.KeyUsage not in extensions:
            reasons.append(NO_KEY_USAGE)
    return reasons


def _candidates(shown: Iterable[bytes], ca: Path | None) -> Iterator[tuple["x509.Certificate", str]]:
    """Yield the certificates that may be at fault, each with a phrase for its place."""
    from cryptography import x509

    try:
        for encoded in shown:
            yield x509.load_der_x509_certificate(encoded), "that the server sent"
        if ca is not None:
            for certificate in x509.load_pem_x509_certificates(ca.read_bytes()):
                yield certificate, f"in {ca}"
    except (OSError, ValueError):
        return  # the library cannot read all that OpenSSL can: the message then names no certificate


def file_fault(error: Exception) -> str:
    """Return why a file with certificates or a key cannot be read: the words of OpenSSL name no file and no cause."""
    reason = getattr(error, "reason", None) or ""
    if reason == "KEY_VALUES_MISMATCH":
        return "the key is not that of the certificate"
    if reason in ("NO_CERTIFICATE_OR_CRL_FOUND", "NO_START_LINE") or "PEM file" in str(error):
        return "there is no certificate in it"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    return "it is no PEM, or damaged"
