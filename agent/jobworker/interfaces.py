"""All that an author of plugins imports: what a plugin implements, and what it is given.

Methods named here may be extended by arguments at the end, never changed, and what is given may get fields.
Each plugin's code runs in a thread of its own: what it does there, however slowly, does not hold up the agent
or other plugins. What it is given is a copy.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from jobworker._hookimpl import hookimpl
from jobworker.errors import JobworkerError, StartError, TokenExpired, Unauthenticated
from jobworker.model import Exit, Job, JobEvent, JobSpec, JobSummary, LogInfo, Principal, Reason, Receipt, State, Step
from jobworker.tokens import TokenFile, TokenRecord
from jobworker.units import Duration, duration, positive, rfc3339
from jobworker.untrusted import explain_refusal
from jobworker.validation import signal_name, too_deep, usable_name

__all__ = [
    "AuthProvider",
    "Authorizer",
    "Credentials",
    "Duration",
    "Exit",
    "Grant",
    "Job",
    "JobEvent",
    "JobHandle",
    "JobSpec",
    "JobSummary",
    "JobworkerError",
    "LogInfo",
    "LongStopStrategy",
    "PluginContext",
    "Principal",
    "Reason",
    "Receipt",
    "RunFacts",
    "StartError",
    "State",
    "Step",
    "StopOptions",
    "StopStrategy",
    "TimeoutPolicy",
    "TokenExpired",
    "TokenFile",
    "TokenRecord",
    "Unauthenticated",
    "duration",
    "explain_refusal",
    "hookimpl",
    "positive",
    "rfc3339",
    "signal_name",
    "too_deep",
    "usable_name",
]

S_co = TypeVar("S_co", covariant=True)


@dataclass(frozen=True)
class PluginContext(Generic[S_co]):
    """What a hook is called with.

    `settings` is the plugin's own table of the configuration, as an instance of its `Settings`; None where it has
    none. `state` is the agent's state folder, where a plugin may keep a file that begins with its name. `log` is the
    agent's log. `tokens` are the agent's own tokens.
    """

    name: str
    settings: S_co
    state: Path
    log: logging.Logger
    tokens: TokenFile


@dataclass(frozen=True)
class Credentials:
    """What the caller presented, by `scheme`.

    `bearer`: see `token`. `basic`: see `username`, `password`. `certificate`: see `certificate`, a client
    certificate in DER that TLS has verified against `server.client_ca`. `address` is where the caller is.
    """

    scheme: str
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    address: str = ""
    certificate: bytes = field(default=b"", repr=False)


class AuthProvider(Protocol):
    """Says who is calling."""

    name: str

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """Return who it is, or None for credentials of another provider.

        Raise `Unauthenticated` to refuse: then no other provider is asked.
        """


@dataclass(frozen=True)
class Grant:
    """What a principal may do. It may do what any of its grants allows.

    `look` and `control` say whose jobs it sees, and stops, signals, pauses, changes and deletes: `all`, `own` or
    `none`. `create`: jobs of its own. `admin`: tokens, and the agent itself. `methods` are patterns of the methods
    for which the grant holds (`job.*`), `labels` patterns that the labels of a job must match for it to hold.
    """

    look: Literal["all", "own", "none"] = "none"
    control: Literal["all", "own", "none"] = "none"
    create: bool = False
    admin: bool = False
    methods: Sequence[str] = ("*",)
    labels: Mapping[str, str] = field(default_factory=dict)


class Authorizer(Protocol):
    """Says what a principal may do: once for each connection, when it has logged in."""

    name: str

    async def grants(self, principal: Principal) -> Sequence[Grant] | None:
        """Return what it may do, [] for nothing; None to leave the answer to the next authorizer."""


class JobHandle(Protocol):
    """A running job, as far as a stop strategy may touch it.

    `env` and `cwd` are those that the job was started with; without what marks a process as the job's.
    """

    job: Job
    env: Mapping[str, str]
    cwd: str

    async def signal(self, name: str, target: str = "all") -> int:
        """Send a signal (`"SIGTERM"`) to the whole tree or to the `main` process; return how many got it."""

    async def asked(self, how: str) -> None:
        """Say that the job is being asked to end otherwise than by a signal: an end that follows is this stop's."""

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until the whole tree is gone; return False when `timeout` seconds pass first."""

    async def run(self, argv: Sequence[str], env: Mapping[str, str], timeout: float) -> None:
        """Run a command beside the job, as the same user and in the same folder; raise OSError where it cannot be.

        It is killed, with its group, after `timeout` seconds.
        """


@dataclass(frozen=True)
class StopOptions:
    """How the caller wants the stop: `signal` is a name, `grace` in seconds."""

    signal: str
    grace: float
    options: Mapping[str, Any]


class StopStrategy(Protocol):
    """Ends a job's tree. When it returns or takes too long, the agent kills what is left."""

    name: str

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError, saying what was expected, for options that cannot be used."""

    async def stop(self, job: JobHandle, options: StopOptions) -> None:
        """Stop the job."""


@runtime_checkable
class LongStopStrategy(StopStrategy, Protocol):
    """A stop strategy that may take longer than the grace."""

    def longest(self, options: StopOptions) -> float:
        """Return the seconds that it means to take at most."""


@dataclass(frozen=True)
class RunFacts:
    """What a timeout policy is shown. Moments are seconds on the clock of `now`, which never jumps.

    `wall` is the time of day at `now`, in seconds since 1970. `last_output` and `last_cpu` are when the job
    was last seen to write or to compute, at the latest; before that, its start. `cpus` is how many it may use.
    A policy that answers None for a `paused` job is asked again when that goes on, from then on.
    """

    now: float
    started: float
    wall: float
    output_bytes: int = 0
    last_output: float | None = None
    cpu_seconds: float = 0.0
    last_cpu: float | None = None
    cpus: int = 1
    paused: bool = False


class TimeoutPolicy(Protocol):
    """Says when a job's time is up: a pure function of numbers, the agent does the clock and the stop.

    One that has an attribute `wants_cpu`, False, is not shown CPU times, which cost something to find out.
    """

    name: str

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError, saying what was expected, for options that cannot be used."""

    def due(self, options: Mapping[str, Any], facts: RunFacts) -> float | None:
        """Return the moment at which the job is to be stopped, by what is known now; None for never.

        It is asked again at that moment: where it then names a later one, the job runs on.
        """
