"""A certificate authority for tests: it signs whatever is asked of it, by default as RFC 5280 demands."""

import datetime
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)


class Pair:
    """A certificate and its key, in two files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.cert, self.key = folder / f"{name}.pem", folder / f"{name}.key"
        self.end = 0.0


class Authority:
    def __init__(self, folder: Path, name: str = "CA", *, without: str = "") -> None:
        """`without`: `usage` or `subject_key` in the CA, or `critical` there; `keys`: AKI in what it signs."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._keys = without != "keys"
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key, NOW + datetime.timedelta(days=1))
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = builder.add_extension(constraints, critical=without != "critical")
        if without != "usage":
            builder = builder.add_extension(SIGNS, critical=True)
        if without != "subject_key":
            builder = builder.add_extension(_identifier(self._key), critical=False)
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        self._count = 0

    def issue(
        self,
        *cn: str,
        ou: Sequence[str] = (),
        names: Sequence[x509.GeneralName] = (),
        usage: Sequence[x509.ObjectIdentifier] | None = (CLIENT,),
        ends: datetime.datetime = NOW + datetime.timedelta(hours=1),
    ) -> Pair:
        """Return a certificate; `usage` None: without the extension."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, one) for one in cn]
        attributes += [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, one) for one in ou]
        builder = self._builder(x509.Name(attributes), key, ends).add_extension(_identifier(key), critical=False)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        if self._keys:
            above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = builder.add_extension(above, critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        self._count += 1
        pair = Pair(self._folder, f"client{self._count}")
        pair.end = ends.timestamp()
        pair.cert.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        pair.key.chmod(0o600)
        return pair

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, ends: datetime.datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=2))
            .not_valid_after(ends)
        )


def _identifier(key: ec.EllipticCurvePrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())
