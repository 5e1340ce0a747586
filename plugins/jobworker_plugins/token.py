"""Auth provider `token`: random bearer tokens; the agent stores only their hashes."""

from collections.abc import Iterable

from jobworker.interfaces import (
    AuthProvider,
    Credentials,
    PluginContext,
    Principal,
    TokenFile,
    Unauthenticated,
    hookimpl,
)


class Token:
    name = "token"

    def __init__(self, tokens: TokenFile) -> None:
        self._tokens = tokens

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        if credentials.scheme != "bearer" or not credentials.token.startswith(self._tokens.prefix):
            return None
        record = self._tokens.find(credentials.token)
        if record is None:
            raise Unauthenticated("the token is not known here; expected one of `jw token create`")
        self._tokens.note_use(record.id)  # shown by `jw token list`
        return Principal(
            record.name, self.name, list(record.roles), expires_at=record.expires_at, subject=record.subject
        )


@hookimpl
def register_auth_providers(context: PluginContext[None]) -> Iterable[AuthProvider]:
    return [Token(context.tokens)]
