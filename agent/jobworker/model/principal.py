"""Authenticated callers."""

from msgspec import Struct


class Principal(Struct, frozen=True):
    """An authenticated caller.

    `issuer` is the authority that issued the credentials, if the provider has several, as for JWTs. `expires_at`
    (seconds since 1970) is when the credentials expire; connections that were opened with them are then closed.
    `subject` distinguishes it from principals that had the same name before.
    """

    name: str
    provider: str
    roles: list[str] = []
    issuer: str = ""
    expires_at: float | None = None
    subject: str = ""

    @property
    def id(self) -> str:
        """The owner of the jobs that this principal creates: it is the same for no two principals."""
        return f"{self.known_as}#{self.subject}" if self.subject else self.known_as

    @property
    def known_as(self) -> str:
        """Issuer or provider, and name: how the configuration names the principal.

        In names of an issuer ":" is written "%3A", or `https://idp` with the name `8443:bob` and `https://idp:8443`
        with the name `bob` would be the same.
        """
        if self.issuer:
            return f"{self.issuer}:{self.name.replace('%', '%25').replace(':', '%3A')}"
        return f"{self.provider}:{self.name}"
