"""Answers about the agent: its host, its plugins, its budgets, its audit log."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType


class Pong(Struct, frozen=True):
    """The time of the agent's clock."""

    time: str


class PluginInfo(Struct, frozen=True, kw_only=True):
    """An installed plugin; of an enabled one `registers` has KIND:NAME, and `settings` the keys of its table.

    An enabled one also has `blocked`, the number of `faults` and of its `tasks`, and whether it is `dropped`.
    """

    name: str
    package: str
    version: str
    enabled: bool = False
    registers: list[str] = []
    settings: list[str] = []
    blocked: bool | UnsetType = UNSET
    faults: int | UnsetType = UNSET
    tasks: int | UnsetType = UNSET
    dropped: bool | UnsetType = UNSET


class Plugins(Struct, frozen=True):
    plugins: list[PluginInfo]


class AgentInfo(Struct, frozen=True, kw_only=True):
    """What the agent is and can do on its host.

    `draining` is since when the agent starts no jobs, null if it does.
    A caller that may neither see nor create jobs gets `protocol`, and of `limits` the sizes of messages and batches.
    """

    version: str | UnsetType = UNSET
    pid: int | UnsetType = UNSET
    address: str | UnsetType = UNSET
    protocol: str
    tls: dict[str, Any] | UnsetType = UNSET
    durability: str | UnsetType = UNSET
    limits: dict[str, Any]
    plugins: list[PluginInfo] | UnsetType = UNSET
    keeper: dict[str, int | None] | UnsetType = UNSET
    capabilities: dict[str, Any] | UnsetType = UNSET
    running: int | UnsetType = UNSET
    draining: str | UnsetType | None = UNSET


class Drained(Struct, frozen=True):
    """Since when the agent starts no jobs, null if it does; and how many jobs run."""

    draining: str | None
    running: int


class Garbage(Struct, frozen=True):
    """Deleted for a reason: a limit of `retention` (`age`, `jobs`, `bytes`), or `no_job`: logs without one."""

    reason: str
    count: int
    bytes: int


class Collected(Struct, frozen=True):
    """What retention deletes, and how many ended jobs and bytes of logs are kept after that."""

    garbage: list[Garbage]
    jobs: int
    bytes: int


class Amount(Struct, frozen=True):
    """How much of something is used; `limit` None: there is no limit."""

    used: int
    limit: int | None


class AgentHealth(Struct, frozen=True, kw_only=True):
    """What the agent uses of its host and of its budgets, in bytes and numbers.

    `disk` and `inodes` are those of the file system of the state folder: `limit` is what this user can have of them.
    `descriptors` are those of the agent, `inotify` the instances of its user. `jobs` and `logs` are the ended jobs
    that are kept and the bytes of their logs, `audit` the bytes of the audit log. `keeper_current` is whether the
    keeper runs the program that is installed now. `ready` has the checks of `/readyz`: `ok`, or what is wrong.
    `started` is when the agent started, `connections` are those that are logged in.
    """

    time: str
    version: str
    python: str
    state: str
    read_only: bool
    disk: Amount
    inodes: Amount
    descriptors: Amount
    inotify: Amount
    jobs: Amount
    logs: Amount
    audit: Amount
    keeper_current: bool
    ready: dict[str, str] = {}
    started: str = ""
    connections: int = 0


class AuditEntry(Struct, frozen=True, kw_only=True):
    """A line of the audit log, see `jobworker.auth.audit.Entry`; what does not apply is left out."""

    time: str
    decision: str
    principal: str | None
    provider: str | None
    address: str
    method: str
    job: str | UnsetType = UNSET
    target: str | UnsetType = UNSET
    outcome: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    bytes: int | UnsetType = UNSET
    before: str | UnsetType = UNSET
    ref: str | UnsetType = UNSET
    unwritten: int | UnsetType = UNSET


class AuditEntries(Struct, frozen=True):
    """The newest entries that fit, the oldest of them first."""

    entries: list[AuditEntry]
