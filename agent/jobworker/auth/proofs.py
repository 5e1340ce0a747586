"""Recognise the credentials of a principal after its login: whether it still has them, and the same ones."""

import hashlib
from collections.abc import Collection

from jobworker.auth.peers import PROVIDER, Peers
from jobworker.errors import JobworkerError
from jobworker.model import Principal
from jobworker.tokens import TokenFile

TOKEN = "token"  # noqa: S105  # the provider of the tokens that the agent has created


class Proofs:
    """What identifies the credentials that principals have now."""

    def __init__(self, providers: Collection[str], tokens: TokenFile, peers: Peers) -> None:
        """`providers` are the names of those that are configured."""
        self._providers = {*providers, PROVIDER}
        self._tokens = tokens
        self._peers = peers

    def of(self, principal: Principal) -> str | None:
        """Return a text that changes with the secret of a token; None if the principal has no credentials any more.

        Of principals of other providers only that is known: their provider is configured, and when they expire.
        """
        if principal.provider not in self._providers:
            return None
        if principal.provider == TOKEN:
            return self._of_token(principal)
        return None if principal.provider == PROVIDER and not self._peers.knows(principal) else principal.provider

    def _of_token(self, principal: Principal) -> str | None:
        try:
            records = self._tokens.records()
        except (JobworkerError, OSError):  # a file that cannot be read lets no one in
            return None
        for record in records:
            if (record.name, record.subject, list(record.roles)) == (
                principal.name,
                principal.subject,
                list(principal.roles),
            ):
                return hashlib.sha256(record.hash.encode()).hexdigest()
        return None
