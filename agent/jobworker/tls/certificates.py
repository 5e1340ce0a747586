"""Create a certificate authority and certificates of servers and clients, with the library cryptography."""

import datetime
import fcntl
import ipaddress
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from jobworker.errors import StartError
from jobworker.private import make_trusted, replace_private, require_given
from jobworker.tls.constraints import NO_HOST, client_names, constraints, forbidden, is_address, own_name, permitted
from jobworker.units import validity_fault
from jobworker.untrusted import faults, file_fault

log = logging.getLogger(__name__)

CA_NAME = "jobworker CA"  # the beginning of the name of each CA that is made here
CA_DAYS = 3650  # validity in days
SERVER_DAYS = 397
MAX_SERVER_DAYS = 398  # browsers accept no more
CLIENT_DAYS = 90
BACKDATED = datetime.timedelta(hours=1)  # for clocks that are behind; part of the validity
HOST_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
USES = {  # names as OpenSSL has them
    ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
    ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
}

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Purpose:
    """What a certificate is for: its extended key usage, and how many days it is valid by default and at most."""

    use: ObjectIdentifier
    days: int
    max_days: int


SERVER = Purpose(ExtendedKeyUsageOID.SERVER_AUTH, SERVER_DAYS, MAX_SERVER_DAYS)
CLIENT = Purpose(ExtendedKeyUsageOID.CLIENT_AUTH, CLIENT_DAYS, CA_DAYS)


@dataclass(frozen=True)
class Authority:
    """A certificate authority: its certificate, and the key that signs."""

    certificate: x509.Certificate
    key: PrivateKeyTypes

    @classmethod
    def new(cls, names: Iterable[str]) -> "Authority":
        """Return a new CA with a key of its own, for servers with these names."""
        name = f"{CA_NAME} {os.urandom(4).hex()}"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return cls._made(ec.generate_private_key(ec.SECP256R1()), subject, [*names, *own_name()])

    @classmethod
    def _made(cls, key: Key, name: x509.Name, names: Sequence[str]) -> "Authority":
        """Return a CA for servers with these names; for any, if there are none."""
        builder = _builder(name, name, key, CA_DAYS)
        # path_length 0: it signs no further CA.
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        if names:
            builder = builder.add_extension(constraints(names), critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    def made_again(self, names: Sequence[str] = ()) -> "Authority":
        """Return this CA, with its key and its name, valid from now on: what it has signed stays signed.

        It may sign for these names as well. Raises StartError for a CA that jobworker has not made.
        """
        subject = self.certificate.subject
        if not isinstance(self.key, Key) or not subject.rfc4514_string().startswith(f"CN={CA_NAME} "):
            if not self.fault:
                self.require_allowed(names)
            raise StartError(
                f"the CA {subject.rfc4514_string()} {self.fault}: renew it, or set the clock of this host"
            )
        before = permitted(self.certificate)
        return self._made(self.key, subject, [*before, *names] if before else [])

    def require_allowed(self, names: Iterable[str]) -> None:
        """Raise StartError for a name of a server that is beyond the name constraints of this CA."""
        if beyond := forbidden(self.certificate, names):
            allowed = ", ".join(name for name in permitted(self.certificate) if name != NO_HOST)
            text = f"name: {beyond[0]!r}; this CA signs servers of these names and those below them only: {allowed}"
            raise StartError(text, hint=f"make a CA for it: jw cert init --out DIR --name {beyond[0]}")

    @property
    def fault(self) -> str:
        """Why it is not valid now, as `expired at TIME, 2 days ago`; "" if it is."""
        certificate = self.certificate
        return validity_fault(
            certificate.not_valid_before_utc.timestamp(),
            certificate.not_valid_after_utc.timestamp(),
            _now().timestamp(),
        )

    @classmethod
    def load(cls, folder: Path, *, valid: bool = True) -> "Authority":
        """Return the CA whose files ca.pem and ca.key are in a folder; raise StartError.

        `valid`: also raise if it is not valid now.
        """
        certificate = load(folder / "ca.pem")[0]
        key_file = folder / "ca.key"
        try:
            require_given(key_file)  # first: a key that others can read is not used
            key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        except FileNotFoundError:
            raise StartError(f"{key_file}: there is no such file; expected the key of the CA") from None
        except (OSError, ValueError, TypeError) as error:
            raise StartError(f"{key_file}: cannot be used: {error}; expected the key of the CA in PEM") from error
        if key.public_key() != certificate.public_key():
            raise StartError(f"{key_file} is not the key of {folder / 'ca.pem'}")
        authority = cls(certificate, key)
        if valid and authority.fault:
            raise StartError(
                f"{folder / 'ca.pem'} {authority.fault}",
                hint=f"is the clock of this host right? If it is: jw cert renew --out {folder}",
            )
        return authority

    def sign(
        self, name: str, names: Iterable[str], purpose: Purpose, days: int | None = None, units: Sequence[str] = ()
    ) -> tuple[Key, x509.Certificate]:
        """Return a new key and its certificate, which ends at the latest when the CA does; raise StartError."""
        if purpose is SERVER:
            self.require_allowed(names := [*names])
            if all(map(is_address, names)):  # else OpenSSL takes the common name for a host name, which is beyond
                name = f"server {name}"
        else:
            names = client_names(self.certificate, names)
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name[:64])]  # 64 is the limit of X.509
        attributes += [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
        end = self.certificate.not_valid_after_utc
        builder = _builder(x509.Name(attributes), self.certificate.subject, key, days or purpose.days, end)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose.use]), critical=False)
        general = [_general_name(text) for text in dict.fromkeys(names)]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
        # Python 3.13 and later refuse a certificate without it.
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.certificate.public_key())  # type: ignore[arg-type]
        return key, builder.add_extension(issuer, critical=False).sign(self.key, hashes.SHA256())  # type: ignore[arg-type]

    def issued(self, certificate: x509.Certificate) -> bool:
        """Whether this CA has signed the certificate."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def server(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return the contents of new files server.key and server.pem, the latter with the CA, by name."""
        key, certificate = self.sign(names[0], names, SERVER)
        return {"server.key": _pem(key), "server.pem": _chain(certificate, self.certificate)}

    def files(self) -> dict[str, bytes]:
        """Return the contents of ca.key and ca.pem, by name."""
        return {"ca.key": _pem(self.key), "ca.pem": _chain(self.certificate)}


def make_all(folder: Path, names: Iterable[str]) -> None:
    """Write ca.pem, ca.key, server.pem and server.key into a folder; create it with mode 0700 if it is missing."""
    authority = Authority.new(names := [*names])
    make_trusted(folder)
    with _locked(folder):
        # ca.pem last: its existence shows that the others are complete.
        _write(folder, authority.server(names) | authority.files())


def renew(folder: Path, names: Iterable[str] = ()) -> None:
    """Replace server.pem and server.key by the same CA, for the names of the old one and `names`; raise StartError.

    A certificate of another CA is not replaced: the operator renews it. A CA that is not valid now, because the clock
    was wrong or its time is over, or that may not sign for all names, is made again with its key.
    """
    with _locked(folder):
        authority = Authority.load(folder, valid=False)
        old = load(folder / "server.pem")[0]
        if not authority.issued(old):
            raise StartError(
                f"{folder / 'server.pem'} was not signed by the CA in this folder: renew it at its own CA"
            )
        wanted = [*dict.fromkeys([*_names(old), *names])]
        beyond = forbidden(authority.certificate, wanted)
        files = {}
        if why := authority.fault or (f"is not for {', '.join(beyond)}" if beyond else ""):
            authority = authority.made_again(beyond)
            files = authority.files()
            copies = "; clients that have a copy of it need the new one" if beyond else ""
            log.warning("%s %s: the CA was made again, with the same key%s", folder / "ca.pem", why, copies)
        _write(folder, authority.server(wanted) | files)


def renew_ca(folder: Path) -> None:
    """Replace the CA as well: clients that trust the old one, or have its certificates, can no longer connect."""
    with _locked(folder):
        names = _names(load(folder / "server.pem")[0]) or ["localhost"]
        authority = Authority.new(names)
        _write(folder, authority.server(names) | authority.files())


def issue(
    authority: Authority,
    name: str,
    names: Iterable[str],
    purpose: Purpose,
    days: int | None,
    units: Sequence[str],
    out: Path,
) -> tuple[Path, Path]:
    """Write NAME.pem (of a server: with its CA) and NAME.key into a folder; return the two paths."""
    key, certificate = authority.sign(name, [name, *names], purpose, days, units)
    chain = _chain(certificate, authority.certificate) if purpose is SERVER else _chain(certificate)
    make_trusted(out)
    _write(out, {f"{name}.key": _pem(key), f"{name}.pem": chain})
    return out / f"{name}.pem", out / f"{name}.key"


def load(path: Path) -> list[x509.Certificate]:
    """Return all certificates in a PEM file, at least one; raise StartError."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except FileNotFoundError:
        raise StartError(f"{path}: there is no such file; expected a certificate in PEM") from None
    except ValueError as error:
        raise StartError(f"{path}: {file_fault(error)}; expected certificates in PEM") from error


def describe(certificate: x509.Certificate) -> dict[str, Any]:
    """Return the contents of a certificate as plain data, for `jw cert show`."""
    extensions = certificate.extensions
    usage: list[str] = []
    basic: dict[str, Any] = {"ca": False, "path_length": None}
    uses: list[str] = []
    for value in (extension.value for extension in extensions):
        if isinstance(value, x509.KeyUsage):
            usage = [name for name in _USAGES if getattr(value, name)]
        elif isinstance(value, x509.BasicConstraints):
            basic = {"ca": value.ca, "path_length": value.path_length}
        elif isinstance(value, x509.ExtendedKeyUsage):
            uses = [USES.get(use, use.dotted_string) for use in value]
    return {
        "subject": certificate.subject.rfc4514_string(),
        "names": _names(certificate),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        **basic,
        "permitted": permitted(certificate),  # names and networks that a CA may sign for; none: any
        "key_usage": usage,
        "extended_key_usage": uses,
        "not_before": _time(certificate.not_valid_before_utc),
        "not_after": _time(certificate.not_valid_after_utc),
        "days_left": (certificate.not_valid_after_utc - _now()).days,
        "lacks": [fault.what for fault in faults(certificate)],  # reasons for which Python 3.13 and later refuse it
        "fingerprint": f"sha256:{certificate.fingerprint(hashes.SHA256()).hex()}",
    }


_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)


def usable_name(name: str) -> bool:
    """Whether a certificate can have the name: a host name, an IP address or a mail address."""
    try:
        _general_name(name)
    except StartError:
        return False
    return True


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, days: int, end: datetime.datetime | None = None
) -> x509.CertificateBuilder:
    begin = _now() - BACKDATED
    after = begin + datetime.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(min(after, end) if end else after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    """Return a subject alternative name; raise StartError for a text that cannot be one."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    local, at, host = name.rpartition("@")
    if HOST_NAME.fullmatch(host) and (not at or (local.isascii() and local.isprintable() and " " not in local)):
        return x509.RFC822Name(name) if at else x509.DNSName(name)
    raise StartError(f"name: {name!r}; expected a host name, an address or a mail address")


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]


def _chain(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def _pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    replace_private({folder / name: data for name, data in files.items()})


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder, so that key and certificate are replaced by one process at a time and always match."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _time(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
