"""The answers of the RPC methods as types: the agent returns them, clients read them, `rpc.discover` has them.

Methods whose result is an object of the protocol, as a job, answer with that: see `jobworker.model`.
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from jobworker.model import Job, Principal

# Jobs


class Run(Struct, frozen=True):
    """The job as it was started, and the name of the subscription to its log."""

    job: Job
    subscription: str


class JobPage(Struct, frozen=True):
    """The newest jobs first; `next` is the cursor of the next page, None after the last."""

    jobs: list[Job]
    next: str | None


class Delivered(Struct, frozen=True):
    """How many processes received the signal."""

    delivered: int


class Resized(Struct, frozen=True):
    """The size of the terminal, in characters."""

    rows: int
    cols: int


class Deleted(Struct, frozen=True):
    deleted: bool


# Logs and events


class Subscribed(Struct, frozen=True):
    """The name of the subscription, and the offset of the first byte that it sends."""

    subscription: str
    offset: int


class EventsSubscribed(Struct, frozen=True):
    """The name of the subscription, and the revision after which its events begin."""

    subscription: str
    revision: int


class LogRecord(Struct, frozen=True, kw_only=True):
    """Bytes of one stream from `offset` on; or a gap in the log: `from`, `to` and the `reason` in place of data.

    `encoding` of the data is `utf8` or `base64`; `time` is the arrival of its first byte.
    """

    job: str
    offset: int | UnsetType = UNSET
    stream: str | UnsetType = UNSET
    time: str | UnsetType = UNSET
    data: str | UnsetType = UNSET
    encoding: str | UnsetType = UNSET
    from_: int | UnsetType = field(default=UNSET, name="from")
    to: int | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class LogRecords(Struct, frozen=True):
    """One page of a log; the next begins at `next`, and `end` is the end of the log at present."""

    records: list[LogRecord]
    next: int
    end: int


class LogMatch(Struct, frozen=True):
    """A match: `length` bytes of a stream from `offset` on, which are in `data`, bytes of that line, from `at` on.

    `cut`: the line has more than `data`. `encoding` of the data is `utf8` or `base64`; `at` counts bytes in any case.
    """

    offset: int
    stream: str
    line: int
    length: int
    data: str
    encoding: str
    at: int
    cut: bool


class LogMatches(Struct, frozen=True):
    """What one call has found; unless it is `complete`, the next one goes on at `next`.

    `end` is the end of the log at present, `numbered_from` the offset at which line 1 begins.
    """

    matches: list[LogMatch]
    count: int
    next: int
    end: int
    complete: bool
    numbered_from: int


class LogLine(Struct, frozen=True):
    """One line, from `offset` to `end`, in parts of one stream each; `cut`: it has more than these."""

    line: int
    offset: int
    end: int
    records: list[LogRecord]
    cut: bool


class LogLines(Struct, frozen=True):
    """Lines in order; unless `complete`, none yet, as those before are still being counted: call again.

    `total` is the number of lines in the log, None if they are not all counted. `end` is the end of the log at
    present, `numbered_from` the offset at which line 1 begins.
    """

    lines: list[LogLine]
    complete: bool
    total: int | None
    end: int
    numbered_from: int


# Terminals


class TerminalSize(Struct, frozen=True):
    """A size of a job's terminal; `offset` is that of the first output for it, `time` None: since the start."""

    offset: int
    time: str | None
    rows: int
    cols: int


class TerminalSizes(Struct, frozen=True):
    """In the order of their times."""

    sizes: list[TerminalSize]


class ScreenCursor(Struct, frozen=True):
    """The place of the next character: row and column, counted from 0."""

    row: int
    col: int
    visible: bool


class Screen(Struct, frozen=True, kw_only=True):
    """What the terminal of a job shows after all output before `offset`.

    `text` has the rows, without the spaces at their ends. `exact`: nothing before was left out that could still be
    seen. `alternate`: a program shows its own screen in place of the usual one. `ansi` is the output that draws the
    screen on a terminal of this size, and sets its modes.
    """

    id: str
    offset: int
    exact: bool
    rows: int
    cols: int
    cursor: ScreenCursor
    title: str
    alternate: bool
    text: list[str]
    ansi: str | UnsetType = UNSET


# Inputs


class Written(Struct, frozen=True):
    """How many bytes of the data are new to the input, and the end of the input after them."""

    accepted: int
    offset: int


class InputEnd(Struct, frozen=True):
    """The number of bytes of the whole input; None if it is unknown, as the keeper has no such job any more."""

    offset: int | None


class Claimed(Struct, frozen=True):
    """The number to give with each write, and the end of the input."""

    lease: int
    offset: int


class Released(Struct, frozen=True):
    released: bool


# Callers


class CallerGrant(Struct, frozen=True):
    """What a caller may do, see `jobworker.interfaces.Grant`: for methods and labels of jobs that match."""

    look: str
    control: str
    create: bool
    admin: bool
    methods: list[str]
    labels: dict[str, str]


class Caller(Struct, frozen=True, kw_only=True):
    """A principal; `id` is the owner of its jobs, if that is not PROVIDER:NAME.

    `expires_at` is in seconds since 1970; None: the credentials do not expire. Only `auth.whoami` answers `grants`
    and `methods`, those that it may call at all: of one job it may still be refused.
    """

    name: str
    provider: str
    roles: list[str] = []
    issuer: str = ""
    expires_at: float | None = None
    subject: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    grants: list[CallerGrant] | UnsetType = UNSET
    methods: list[str] | UnsetType = UNSET

    @classmethod
    def of(cls, principal: Principal) -> "Caller":
        plain = f"{principal.provider}:{principal.name}"
        return cls(
            name=principal.name,
            provider=principal.provider,
            roles=principal.roles,
            issuer=principal.issuer,
            expires_at=principal.expires_at,
            subject=principal.subject or UNSET,
            id=principal.id if principal.id != plain else UNSET,
        )


class NewToken(Struct, frozen=True):
    """A token with its secret, which the agent returns only here; `expires_at` None: it does not expire."""

    name: str
    roles: list[str]
    token: str
    expires_at: str | None


class RenewedToken(Struct, frozen=True):
    """The new secret of a token."""

    name: str
    token: str
    expires_at: str | None


class Token(Struct, frozen=True):
    """A token without its secret; `id` is the principal."""

    name: str
    id: str
    roles: list[str]
    created_at: str
    expires_at: str | None
    last_used: str | None


class Tokens(Struct, frozen=True):
    tokens: list[Token]


class Connected(Struct, frozen=True):
    """An open connection; `principal` is None before its login, `own` marks the connection of the call."""

    id: str
    principal: str | None
    roles: list[str]
    address: str
    since: str
    own: bool


class Sessions(Struct, frozen=True):
    sessions: list[Connected]


class SessionsEnded(Struct, frozen=True):
    """How many sessions were ended."""

    ended: int


# The agent


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


class Amount(Struct, frozen=True):
    """How much of something is used; `limit` None: there is no limit."""

    used: int
    limit: int | None


class AgentHealth(Struct, frozen=True, kw_only=True):
    """What the agent uses of its host and of its budgets, in bytes and numbers.

    `disk` and `inodes` are those of the file system of the state folder: `limit` is what this user can have of them.
    `descriptors` are those of the agent, `inotify` the instances of its user. `jobs` and `logs` are the ended jobs
    that are kept and the bytes of their logs, `audit` the bytes of the audit log. `keeper_current` is whether the
    keeper runs the program that is installed now.
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
    unwritten: int | UnsetType = UNSET


class AuditEntries(Struct, frozen=True):
    """The newest entries that fit, the oldest of them first."""

    entries: list[AuditEntry]
