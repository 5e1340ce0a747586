"""Authenticate a caller: read credentials from TLS or the upgrade, and ask the auth providers."""

import asyncio
import base64
import logging
from collections.abc import Callable, Sequence

import msgspec
from websockets.datastructures import Headers

from jobworker.auth.peers import PROVIDER
from jobworker.errors import InvalidRequest, Unauthenticated
from jobworker.interfaces import AuthProvider, Credentials
from jobworker.model import Principal
from jobworker.plugin.host import PluginFault, PluginHost
from jobworker.protocol import BEARER_SUBPROTOCOL, LOGIN_SUBPROTOCOL, decode_bearer
from jobworker.validation import usable_name

log = logging.getLogger(__name__)

MAX_ROLES = 100


class Authenticator:
    """The providers in configured order."""

    def __init__(
        self,
        providers: Sequence[AuthProvider],
        host: PluginHost,
        is_revoked: Callable[[bytes], bool] = lambda certificate: False,
    ) -> None:
        """`is_revoked` returns whether a client certificate, in DER, is revoked."""
        self._providers = providers
        self._is_revoked = is_revoked
        # Runs the providers in threads of their own, with a time limit.
        self._host = host

    async def authenticate(self, *credentials: Credentials) -> Principal:
        """Return the principal of the first provider that accepts any of the credentials; raise Unauthenticated.

        A provider that fails denies: breaking one lets no caller in. A revoked certificate is refused, whatever else
        is presented.
        """
        if any(item.certificate and self._is_revoked(item.certificate) for item in credentials):
            raise Unauthenticated("the client certificate is revoked")
        for provider in self._providers:
            for presented in credentials:
                try:
                    principal = await self._ask(provider, presented)
                except PluginFault as error:
                    log.error("auth provider %s", error)
                    raise Unauthenticated("the credentials could not be checked") from error
                if principal is not None:
                    return principal
        schemes = " and ".join(presented.scheme for presented in credentials)
        raise Unauthenticated(f"no provider knows these {schemes} credentials")

    async def _ask(self, provider: AuthProvider, credentials: Credentials) -> Principal | None:
        answer = await self._host.call(provider, lambda: provider.authenticate(credentials))
        return None if answer is None else self._checked(provider.name, answer)

    def _checked(self, provider: str, answer: object) -> Principal:
        """Return a copy, which the plugin cannot change later; raise PluginFault for an invalid principal."""
        if not isinstance(answer, Principal):
            raise PluginFault(f"{provider} returned {type(answer).__name__}; expected a Principal or None")
        try:
            usable_name(answer.name, "name")
            if len(answer.roles) > MAX_ROLES:
                raise TypeError(f"{len(answer.roles)} roles; expected at most {MAX_ROLES}")
            principal = msgspec.convert(msgspec.to_builtins(answer), Principal)
            for role in principal.roles:
                usable_name(role, "role")
            if principal.subject:
                usable_name(principal.subject, "subject")
        except (msgspec.ValidationError, TypeError, Unauthenticated) as error:
            raise PluginFault(f"{provider} returned an invalid Principal: {error}") from error
        # An issuer named like another provider would give a principal the id of that provider's principal; so would
        # one that begins like its ids.
        others = {PROVIDER, *(other.name for other in self._providers)} - {provider}
        if principal.provider != provider or principal.issuer.partition(":")[0] in others:
            raise PluginFault(f"{provider} returned {principal.id!r}; expected a principal of its own")
        return principal


def from_handshake(transport: asyncio.BaseTransport, address: str) -> Credentials | None:
    """Return the client certificate that TLS has verified; None if the client sent none or TLS requested none."""
    tls = transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) if tls is not None else None
    return Credentials("certificate", certificate=certificate, address=address) if certificate else None


def from_upgrade(headers: Headers, address: str) -> Credentials | None:
    """Return the credentials in the headers of the HTTP request; None without any; raise InvalidRequest."""
    credentials: list[Credentials] = []
    for value in headers.get_all("Authorization"):
        credentials.append(_from_header(value, address))
    for name in _subprotocols(headers):
        if name.startswith(BEARER_SUBPROTOCOL):
            try:
                credentials.append(Credentials("bearer", token=decode_bearer(name), address=address))
            except ValueError as error:
                raise InvalidRequest("the bearer subprotocol does not hold unpadded base64url") from error
    if len(credentials) > 1:
        raise InvalidRequest("credentials are given more than once; expected one header or one subprotocol")
    return credentials[0] if credentials else None


def logs_in_later(headers: Headers) -> bool:
    """Whether the client calls auth.login, whatever certificate it has: a browser sends one without being asked."""
    return LOGIN_SUBPROTOCOL in _subprotocols(headers)


def _subprotocols(headers: Headers) -> list[str]:
    return [part.strip() for value in headers.get_all("Sec-WebSocket-Protocol") for part in value.split(",")]


def _from_header(value: str, address: str) -> Credentials:
    scheme, _, rest = value.partition(" ")
    match scheme.lower():
        case "bearer":
            return Credentials("bearer", token=rest.strip(), address=address)
        case "basic":
            try:
                username, colon, password = base64.b64decode(rest, validate=True).decode().partition(":")
            except ValueError as error:  # from base64 or from UTF-8
                raise InvalidRequest("Authorization: Basic does not hold base64") from error
            if not colon:
                raise InvalidRequest("Authorization: Basic holds no colon; expected username:password")
            return Credentials("basic", username=username, password=password, address=address)
    raise InvalidRequest("Authorization has an unknown scheme; expected Bearer or Basic")
