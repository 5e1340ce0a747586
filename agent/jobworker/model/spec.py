"""Specs: what to run, how to stop it, and its limits."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from jobworker.text import Text
from jobworker.units import Duration, Rate, Size

LOCAL = "local"  # in place of the name of an executor: the agent runs the job by its keeper
MIN_LOG = 64 << 10  # bytes: a smaller log would hold almost no output


class StopSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How to stop a job; absent fields are taken from the job's spec, then from the configuration."""

    strategy: str | None = None
    signal: str | None = None
    grace: Duration | None = None
    options: dict[str, Any] = {}


class TimeoutSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One time limit: the name of a timeout policy, and its options."""

    policy: str
    options: dict[str, Any] = {}


class LogSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a job's output is kept.

    `max_bytes`: its size, by default as configured; `keep`: the `newest` output or the `oldest`.
    `on_bound`: beyond that, output is dropped (`drop`), or the job waits until it was read (`wait`).
    `merge`: both streams as one. `on_full`: on a full disk the job waits (`wait`), or output is dropped (`drop`).
    """

    max_bytes: Size | None = None
    keep: str = "newest"
    on_bound: str = "drop"
    merge: bool = False
    on_full: str = "wait"

    @property
    def waits(self) -> bool:
        """Whether the job waits for its readers when its log is full."""
        return self.on_bound == "wait"

    @property
    def drops(self) -> bool:
        """Whether output is dropped on a full disk."""
        return self.on_full == "drop"


class LimitSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all processes of a job together may use at most; `memory` includes swap.

    `io_read`, `io_write`: bytes a second, of the disk that holds the job's cwd, or by device.
    """

    cpus: int | float | None = None
    memory: Size | None = None
    pids: int | None = None
    io_read: Rate | None = None
    io_write: Rate | None = None


class TtySpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The terminal of a job: its size when the job starts, and what `TERM` is in the environment."""

    rows: int = 24
    cols: int = 80
    term: str = "xterm-256color"


class SecretRef(Struct, frozen=True, forbid_unknown_fields=True):
    """A secret that the agent gets from a secret provider when the job starts: the provider, and its name there."""

    provider: str
    name: str


class SandboxSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """What a job may do of that which a process may; by default all."""

    network: bool = True
    write: list[str] = field(default_factory=lambda: ["/"])
    userns: bool = True


class ExecutorSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What runs a job in place of the agent: the name of an executor, and its options, which that checks."""

    name: str
    options: dict[str, Any] = {}


class JobSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to run. Exactly one of `argv` and `shell`; `docs/reference/job-spec.md` describes each field."""

    argv: Sequence[Text] | UnsetType = UNSET
    shell: Text | UnsetType = UNSET
    name: str | None = None
    env: Mapping[str, Text] = {}
    secrets: dict[str, str | SecretRef] = {}
    secret_files: dict[str, str | SecretRef] = {}
    cwd: Text | None = None
    user: str | int | None = None
    group: str | int | None = None
    umask: int | str | None = None
    nice: int | None = None
    rlimits: dict[str, Any] = {}
    limits: LimitSpec = LimitSpec()
    stdin: str | None = None
    tty: bool | TtySpec = False
    timeout: Duration | UnsetType | None = UNSET
    idle_timeout: Duration | None = None
    timeout_policies: list[TimeoutSpec] = []
    stop: StopSpec = StopSpec()
    log: LogSpec = LogSpec()
    leftovers: str = "stop"
    labels: dict[str, str] = {}
    pid_namespace: bool | UnsetType = UNSET
    private_tmp: bool | UnsetType = UNSET
    sandbox: SandboxSpec | None = None
    executor: ExecutorSpec | None = None

    def command(self) -> list[str]:
        """Return the argv to execute; here and below surrogates stand for bytes that are not UTF-8."""
        return ["/bin/sh", "-c", str(self.shell)] if self.argv is UNSET else [*map(str, self.argv)]

    def variables(self) -> dict[str, str]:
        """Return the variables of `env`."""
        return {name: str(value) for name, value in self.env.items()}

    def all_secrets(self) -> dict[str, str | SecretRef]:
        """Return the secrets; the names of those that the job reads from files begin with `/`."""
        return {**self.secrets, **{f"/{name}": value for name, value in self.secret_files.items()}}

    def folder(self) -> str:
        """Return `cwd`, "" if there is none."""
        return "" if self.cwd is None else str(self.cwd)

    def has_input(self) -> bool:
        """Whether the job can be written to: a terminal always has an input."""
        return self.stdin is not None or self.tty is not False

    def elsewhere(self) -> ExecutorSpec | None:
        """Return the executor that is to run the job; None if the agent itself does."""
        return None if self.executor is None or self.executor.name == LOCAL else self.executor

    def terminal(self) -> TtySpec | None:
        """Return the terminal that the job is to have."""
        return (TtySpec() if self.tty else None) if isinstance(self.tty, bool) else self.tty
