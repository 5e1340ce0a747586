"""The interfaces between agent and plugins, and all types that a plugin needs.

Later versions may add fields to the types, and arguments to the end of methods; they change nothing else.
The code of each plugin runs in a thread of its own, so that slow code delays neither the agent nor other plugins.
All arguments are copies.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from jobworker._hookimpl import hookimpl
from jobworker.errors import JobworkerError, StartError, TokenExpired, Unauthenticated
from jobworker.executors import Executor, ExecutorUnavailable, Need, Phase, Sighting
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
    "Executor",
    "ExecutorUnavailable",
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
    "Need",
    "Phase",
    "PluginContext",
    "Principal",
    "Reason",
    "Receipt",
    "RunFacts",
    "SecretProvider",
    "Sighting",
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
    """The argument of every hook.

    `settings` is the plugin's own table of the configuration, as an instance of its `Settings`; None if it has no
    such class. `state` is the agent's state folder, where a plugin may keep files whose names begin with its own.
    `log` is the agent's log, `tokens` are the tokens that the agent has created.
    """

    name: str
    settings: S_co
    state: Path
    log: logging.Logger
    tokens: TokenFile


@dataclass(frozen=True)
class Credentials:
    """The credentials of a caller; the other fields depend on `scheme`.

    `bearer`: `token`. `basic`: `username` and `password`. `certificate`: `certificate`, a client certificate in DER
    that TLS has verified against `server.client_ca`. `address` is the caller's IP address.
    """

    scheme: str
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    address: str = ""
    certificate: bytes = field(default=b"", repr=False)


class AuthProvider(Protocol):
    """Identifies callers by their credentials."""

    name: str

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """Return the principal, or None for credentials of another provider.

        Raise `Unauthenticated` to refuse: then no other provider is asked.
        """


@dataclass(frozen=True)
class Grant:
    """One permission of a principal, which may do all that any of its grants allows.

    `look` is whose jobs it may see (`all`, `own` or `none`), `control` whose jobs it may stop, signal, pause, change
    and delete. `create` allows jobs of its own, `admin` managing tokens and the agent. The grant holds for methods
    that match one of the patterns `methods` (`job.*`), and for jobs whose labels match the patterns `labels`.
    """

    look: Literal["all", "own", "none"] = "none"
    control: Literal["all", "own", "none"] = "none"
    create: bool = False
    admin: bool = False
    methods: Sequence[str] = ("*",)
    labels: Mapping[str, str] = field(default_factory=dict)


class Authorizer(Protocol):
    """Decides what a principal may do; called once for each connection, after the login."""

    name: str

    async def grants(self, principal: Principal) -> Sequence[Grant] | None:
        """Return what the principal may do, [] for nothing; None leaves the decision to the next authorizer."""


class JobHandle(Protocol):
    """A running job, for a stop strategy.

    `env` and `cwd` are those that the job was started with, without the variable that marks processes of the job.
    """

    job: Job
    env: Mapping[str, str]
    cwd: str

    async def signal(self, name: str, target: str = "all") -> int:
        """Send a signal (`"SIGTERM"`) to the whole tree or to the `main` process; return how many got it."""

    async def asked(self, how: str) -> None:
        """Record that the job is asked to end, without a signal: an end after it counts as caused by this stop."""

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until the whole tree is gone; return False if that takes longer than `timeout` seconds."""

    async def write(self, text: str) -> None:
        """Write to the job's input, also if a client has claimed it; raise OSError if the job takes no input.

        Waits while the job does not read and its input is full.
        """

    async def run(self, argv: Sequence[str], env: Mapping[str, str], timeout: float) -> None:
        """Run a command inside the job, as its user and in its folder; raise OSError if it cannot be executed.

        When it has ended, and after `timeout` seconds in any case, its session and what descends from it is killed.
        What else it leaves is of the job.
        """


@dataclass(frozen=True)
class StopOptions:
    """The options of a stop: `signal` is a name, `grace` in seconds, `options` are those of the strategy."""

    signal: str
    grace: float
    options: Mapping[str, Any]


class StopStrategy(Protocol):
    """Ends a job's tree. When it returns or takes too long, the agent kills what is left."""

    name: str

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError, with what was expected, for options that cannot be used."""

    async def stop(self, job: JobHandle, options: StopOptions) -> None:
        """End the job's tree."""


@runtime_checkable
class LongStopStrategy(StopStrategy, Protocol):
    """A stop strategy that may take longer than the grace."""

    def longest(self, options: StopOptions) -> float:
        """Return the longest time that `stop` takes with these options, in seconds."""


@dataclass(frozen=True)
class RunFacts:
    """The facts about a job for a timeout policy. Moments are seconds on the clock of `now`, which never jumps.

    `wall` is the wall clock at `now`, in seconds since 1970. `last_output` and `last_cpu` are when the job was last
    observed to write or to use CPU time; before the first time, its start. `cpus` is how many CPUs the job may use.
    A policy that returns None for a `paused` job is called again when the job is resumed. `waiting_since` is when the
    job began to wait for its input, with `prompt` at the end of its output; None: it does not wait.
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
    waiting_since: float | None = None
    prompt: str = ""


class SecretProvider(Protocol):
    """Finds the values of secrets that specs name."""

    name: str

    async def secret(self, name: str, principal: Principal) -> str:
        """Return the value, for a job that this principal starts; raise JobworkerError with the reason if it may not.

        The text of an error is shown to the principal: it must not have any part of a value.
        """


class TimeoutPolicy(Protocol):
    """Decides when a job's time is up: a pure function of facts; the agent has the clock and stops the job.

    A policy with the attribute `wants_cpu = False` gets no CPU times, which cost something to read. One with a method
    `reason(options, facts)` gives the text by which the exit of the job and `jw explain` name why its time is up.

    One with `wants_waiting = True` is for jobs that have an input. It is called again whenever the job begins or
    ceases to wait for it, after None as well. If it has a method `answer(options, facts)` that returns a text when
    its time is up, the agent writes the text to the job's input and stops nothing.
    """

    name: str

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError, with what was expected, for options that cannot be used."""

    def due(self, options: Mapping[str, Any], facts: RunFacts) -> float | None:
        """Return the moment at which the job must be stopped, by these facts; None for never.

        The agent calls it again at that moment; if it then returns a later one, the job runs on.
        """
