# Made of ../agent_verbs.py by docs/generate.py: change that file, and run it.
"""The methods of a client that are about callers and the agent; `verbs.py` has those about jobs.

`../agent_verbs.py` is the source of this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from jobworker.client import wire
from jobworker.client.lazy import Lazy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobworker import model, results
    from jobworker.client.blocking.connection import Connection
    from jobworker.units import Duration, Size
else:
    model, results = Lazy("jobworker.model"), Lazy("jobworker.results")

T = TypeVar("T")


class AgentVerbs:
    """Those about callers and the agent, and what all methods use."""

    connection: Connection

    def call(self, method: str, **params: Any) -> Any:
        """Call any method and return its result as plain data."""
        return self.connection.call(method, **params)

    def _ask(self, kind: type[T], method: str, **params: Any) -> T:
        """Call a method with the params that are not None; return its result as this type."""
        return wire.typed(kind, method, self.connection.call(method, **wire.given(**params)))

    # Callers

    def login(
        self,
        *,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        ticket: str | None = None,
        session: str | None = None,
    ) -> model.Principal:
        """Authenticate a connection that was opened without credentials, by its first call; after a loss, again.

        `ticket` and `session` are for pages in a browser: the agent takes them from connections of an origin only.
        """
        given = {"token": token, "username": username, "password": password, "ticket": ticket, "session": session}
        return self._ask(model.Principal, "auth.login", **given)

    def whoami(self) -> model.Principal:
        """Return the principal of this connection."""
        return self._ask(model.Principal, "auth.whoami")

    def logout(self) -> None:
        """End this connection and, of a page in a browser, its session."""
        self._ask(bool, "auth.logout")

    def ticket(self, *, origin: str | None = None) -> results.Ticket:
        """Return a code with which a page of this origin logs in as this caller, once and within 30 seconds.

        Without `origin` it is for the agent's own page, by the address that the agent has for clients on its host.
        """
        return self._ask(results.Ticket, "auth.ticket", origin=origin)

    def create_token(
        self, name: str, roles: Sequence[str], *, expires_in: Duration | None = None
    ) -> results.NewToken:
        """Create a token, whose secret is only in this answer; "never": it has no end, None: as configured."""
        return self._ask(results.NewToken, "token.create", name=name, roles=roles, expires_in=expires_in)

    def renew_token(self, name: str, *, expires_in: Duration | None = None) -> results.RenewedToken:
        """Replace the secret of a token, which ends the old one and its connections at once."""
        return self._ask(results.RenewedToken, "token.renew", name=name, expires_in=expires_in)

    def revoke_token(self, name: str) -> None:
        """Revoke a token and close its connections."""
        self._ask(bool, "token.revoke", name=name)

    def tokens(self) -> Sequence[results.Token]:
        """List the tokens, without their secrets."""
        return (self._ask(results.Tokens, "token.list")).tokens

    def sessions(self) -> Sequence[results.Connected]:
        """List the open connections, the oldest first."""
        return (self._ask(results.Sessions, "session.list")).sessions

    def end_sessions(self, *, session: str | None = None, principal: str | None = None) -> int:
        """End one session by its id, or all of a principal; return how many. Their access ends at once."""
        return (self._ask(results.SessionsEnded, "session.end", id=session, principal=principal)).ended

    # The agent

    def ping(self) -> str:
        """Return the time of the agent's clock."""
        return (self._ask(results.Pong, "agent.ping")).time

    def info(self) -> results.AgentInfo:
        """Return what the agent is and can do on its host."""
        return self._ask(results.AgentInfo, "agent.info")

    def health(self) -> results.AgentHealth:
        """Return what the agent uses of its host and of its budgets."""
        return self._ask(results.AgentHealth, "agent.health")

    def audit(
        self, limit: int = 100, *, job: str | None = None, principal: str | None = None, denied: bool = False
    ) -> Sequence[results.AuditEntry]:
        """Return the newest entries of the audit log, the oldest of them first: those of a job, of a principal."""
        params: dict[str, Any] = {"limit": limit, "job": job, "principal": principal, "denied": denied}
        return (self._ask(results.AuditEntries, "audit.list", **params)).entries

    def shutdown(self, jobs: Literal["stop", "leave"] = "leave") -> None:
        """End the agent; jobs that are left run on, and the next agent adopts them."""
        self._ask(bool, "agent.shutdown", jobs=jobs)

    def drain(self) -> results.Drained:
        """Have the agent create and start no more jobs, also after a restart; those that run go on."""
        return self._ask(results.Drained, "agent.drain")

    def undrain(self) -> results.Drained:
        """Have the agent create and start jobs again."""
        return self._ask(results.Drained, "agent.undrain")

    def garbage(
        self, *, age: Duration | None = None, jobs: int | None = None, log_bytes: Size | None = None
    ) -> results.Collected:
        """Return what `gc` would delete now, with these limits in place of those of the configuration."""
        return self._ask(results.Collected, "agent.garbage", age=age, jobs=jobs, bytes=log_bytes)

    def gc(self) -> results.Collected:
        """Delete now what retention deletes, and logs that belong to no job."""
        return self._ask(results.Collected, "agent.gc")

    def restart(self) -> None:
        """Have the agent execute itself again, with its current program and configuration."""
        self._ask(bool, "agent.restart")

    def plugins(self) -> Sequence[results.PluginInfo]:
        """List the plugins: the enabled ones in the order of the configuration, then, for an admin, the others."""
        return (self._ask(results.Plugins, "plugin.list")).plugins

    def discover(self) -> dict[str, Any]:
        """Return an OpenRPC document that describes all methods of this agent."""
        return self._ask(dict, "rpc.discover")
