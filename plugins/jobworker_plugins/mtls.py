"""Auth provider `mtls`: client certificates that TLS has verified, with rules for names and roles."""

import time
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from jobworker.interfaces import (
    AuthProvider,
    Credentials,
    PluginContext,
    Principal,
    TokenExpired,
    Unauthenticated,
    hookimpl,
    rfc3339,
    usable_name,
)

NAME_TYPES: dict[str, type[x509.DNSName | x509.RFC822Name | x509.UniformResourceIdentifier]] = {
    "dns": x509.DNSName,
    "email": x509.RFC822Name,
    "uri": x509.UniformResourceIdentifier,
}
# Errors of the library for certificates that OpenSSL accepts.
UNREADABLE = (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[plugins.mtls]`.

    `roles`: roles by pattern of the name (`*` stands for any characters); a name gets those of all that match.
    `roles_from = "ou"`: the organizational units of the certificate are roles as well.
    """

    name_from: Literal["cn", "dns", "email", "uri"] = "cn"
    roles: dict[str, list[str]] = {}
    roles_from: Literal["", "ou"] = ""


class Mtls:
    name = "mtls"

    def __init__(self, rules: Settings) -> None:
        self._rules = rules

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        if credentials.scheme != "certificate":
            return None
        try:
            return self._principal(x509.load_der_x509_certificate(credentials.certificate))
        except UNREADABLE as error:
            raise Unauthenticated(f"the client certificate cannot be read: {error}") from error

    def _principal(self, certificate: x509.Certificate) -> Principal:
        _require_client(certificate)
        end = certificate.not_valid_after_utc.timestamp()
        if end <= time.time():  # TLS does not verify the certificate of a resumed session again
            raise TokenExpired(f"the client certificate expired at {rfc3339(int(end) * 10**9)}")
        names = self._names(certificate)
        if len(names) != 1:  # which of several is meant, only the CA knows
            wanted = f"the client certificate has {len(names)} names of the kind {self._rules.name_from!r}"
            raise Unauthenticated(f"{wanted}; expected exactly one")
        name = usable_name(names[0], f"the client certificate's {self._rules.name_from}")
        roles = self._roles(name, certificate)
        if not roles:
            raise Unauthenticated(f"the client certificate of {name!r} is valid, but no rule gives it a role")
        return Principal(name, self.name, roles, expires_at=end)

    def _names(self, certificate: x509.Certificate) -> list[str]:
        if self._rules.name_from == "cn":
            return _subject(certificate, NameOID.COMMON_NAME)
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return []
        return names.get_values_for_type(NAME_TYPES[self._rules.name_from])

    def _roles(self, name: str, certificate: x509.Certificate) -> list[str]:
        patterns = [roles for pattern, roles in self._rules.roles.items() if fnmatchcase(name, pattern)]
        units = [_subject(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)] if self._rules.roles_from == "ou" else []
        return [*dict.fromkeys(role for roles in (*patterns, *units) for role in roles)]


def _require_client(certificate: x509.Certificate) -> None:
    """Raise Unauthenticated if it is not for clients: TLS accepts a certificate without an extended key usage."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is None or ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise Unauthenticated("the certificate is not for clients; expected the extended key usage clientAuth")


def _subject(certificate: x509.Certificate, kind: x509.ObjectIdentifier) -> list[str]:
    return [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(kind)]


@hookimpl
def register_auth_providers(context: PluginContext[Settings]) -> Iterable[AuthProvider]:
    return [Mtls(context.settings)]
