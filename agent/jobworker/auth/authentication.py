"""Find out who is calling: credentials from TLS, the upgrade or the first message, asked of the providers."""

import asyncio
import base64
import logging
from collections.abc import Sequence

import msgspec
from websockets.datastructures import Headers

from jobworker.checks import usable_name
from jobworker.errors import InvalidRequest, Unauthenticated
from jobworker.interfaces import AuthProvider, Credentials
from jobworker.model import Principal
from jobworker.plugin.host import PluginFault, PluginHost
from jobworker.protocol import BEARER_SUBPROTOCOL, decode_bearer

log = logging.getLogger(__name__)

MAX_ROLES = 100


class Authenticator:
    """The providers in configured order."""

    def __init__(self, providers: Sequence[AuthProvider], host: PluginHost) -> None:
        self._providers = providers
        self._host = host

    async def authenticate(self, *credentials: Credentials) -> Principal:
        """Return the principal of the first provider that says yes to any of them; raise Unauthenticated.

        A provider that fails denies: nobody gets in by breaking one.
        """
        for provider in self._providers:
            for each in credentials:
                try:
                    found = await self._ask(provider, each)
                except PluginFault as error:
                    log.error("auth provider %s", error)
                    raise Unauthenticated("the credentials could not be checked") from error
                if found is not None:
                    return found
        schemes = " and ".join(each.scheme for each in credentials)
        raise Unauthenticated(f"no provider knows these {schemes} credentials")

    async def _ask(self, provider: AuthProvider, credentials: Credentials) -> Principal | None:
        found = await self._host.call(provider, lambda: provider.authenticate(credentials))
        return None if found is None else self._checked(provider.name, found)

    def _checked(self, provider: str, found: object) -> Principal:
        """Return a copy, which nobody changes later; raise PluginFault for what is no principal of this provider."""
        if not isinstance(found, Principal):
            raise PluginFault(f"{provider} returned {type(found).__name__}; expected a Principal or None")
        try:
            usable_name(found.name, "name")
            if len(found.roles) > MAX_ROLES:
                raise TypeError(f"{len(found.roles)} roles; expected at most {MAX_ROLES}")
            principal = msgspec.convert(msgspec.to_builtins(found), Principal)
            for role in principal.roles:
                usable_name(role, "role")
        except (msgspec.ValidationError, TypeError, Unauthenticated) as error:
            raise PluginFault(f"{provider} returned a Principal that is none: {error}") from error
        others = {each.name for each in self._providers} - {provider}
        if principal.provider != provider or principal.issuer in others:
            raise PluginFault(f"{provider} vouches for {principal.id!r}, whom only another provider knows")
        return principal


def from_handshake(transport: asyncio.BaseTransport, address: str) -> Credentials | None:
    """Return the client certificate that TLS has verified, None where there is none or none was asked for."""
    certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return Credentials("certificate", certificate=certificate, address=address) if certificate else None


def from_upgrade(headers: Headers, address: str) -> Credentials | None:
    """Return what the HTTP request carries, None where it carries nothing; raise InvalidRequest."""
    found: list[Credentials] = []
    for value in headers.get_all("Authorization"):
        found.append(_from_header(value, address))
    for value in headers.get_all("Sec-WebSocket-Protocol"):
        for name in (part.strip() for part in value.split(",")):
            if name.startswith(BEARER_SUBPROTOCOL):
                try:
                    found.append(Credentials("bearer", token=decode_bearer(name), address=address))
                except ValueError as error:
                    raise InvalidRequest("the bearer subprotocol does not hold unpadded base64url") from error
    if len(found) > 1:
        raise InvalidRequest("credentials are given more than once; expected one header or one subprotocol")
    return found[0] if found else None


def _from_header(value: str, address: str) -> Credentials:
    scheme, _, rest = value.partition(" ")
    match scheme.lower():
        case "bearer":
            return Credentials("bearer", token=rest.strip(), address=address)
        case "basic":
            try:
                username, colon, password = base64.b64decode(rest, validate=True).decode().partition(":")
            except ValueError as error:  # of base64 or of UTF-8
                raise InvalidRequest("Authorization: Basic does not hold base64") from error
            if not colon:
                raise InvalidRequest("Authorization: Basic holds no colon; expected username:password")
            return Credentials("basic", username=username, password=password, address=address)
    raise InvalidRequest("Authorization has an unknown scheme; expected Bearer or Basic")
