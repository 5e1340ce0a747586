"""The plan of a job: its spec with every value parsed, once.

The launch, the stop and the time limits use the plan, never the texts of the spec.
"""

import resource
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct

from jobworker.config import Jobs
from jobworker.errors import InvalidSpec
from jobworker.jobs.identity import Identity, own, user_message
from jobworker.jobs.limits import MAX_CPUS, MAX_PIDS, MIN_CPUS, parse_limits
from jobworker.linux.proc import MARKER
from jobworker.model import MIN_LOG, JobSpec, LogSpec, SandboxSpec, StopSpec, to_builtins
from jobworker.signal_names import name_of, number_of
from jobworker.units import Duration, seconds, size
from jobworker.validation import describe_error, signal_name

TOTAL = "total"  # the policy of `timeout`
RLIMITS = {name[7:].lower(): getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
MAX_RLIMIT = (1 << 63) - 1
MAX_NICE, MIN_NICE = 19, -20  # from the lowest priority to the highest
MAX_WRITE_PATHS = 64
MAX_UMASK = 0o777
TtySize = Annotated[int, Meta(ge=1, le=65535)]  # rows or columns of a terminal, which the kernel has in 16 bits


class _Log(Struct, frozen=True):
    keep: Literal["newest", "oldest"]
    on_bound: Literal["drop", "wait"]
    on_full: Literal["wait", "drop"]


class _Limits(Struct, frozen=True):
    cpus: Annotated[float, Meta(ge=MIN_CPUS, le=MAX_CPUS)] | None
    pids: Annotated[int, Meta(ge=1, le=MAX_PIDS)] | None


class _Tty(Struct, frozen=True):
    rows: TtySize
    cols: TtySize
    term: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]


class _Checked(Struct, frozen=True):
    """The fields of a spec whose values a type can check.

    They are looser in `JobSpec`: a client may be older than the agent whose jobs it shows.
    """

    nice: Annotated[int, Meta(ge=MIN_NICE, le=MAX_NICE)] | None
    stdin: Literal["pipe"] | None
    leftovers: Literal["stop", "leave"]
    log: _Log
    limits: _Limits
    tty: bool | _Tty


class LogPlan(Struct, frozen=True):
    """How the job's output is kept; `max_bytes` 0: without a bound.

    `drop`: output is dropped on a full disk, else the job waits. `wait`: it waits for its readers at the bound.
    """

    max_bytes: int
    keep: Literal["newest", "oldest"]
    merge: bool
    drop: bool
    wait: bool

    def message(self) -> dict[str, Any]:
        """Return the part of a message to the keeper about the log."""
        return {"drop": self.drop, "max": self.max_bytes, "keep": self.keep, "merge": self.merge, "wait": self.wait}


class StopPlan(Struct, frozen=True):
    """How to stop the job: the name of a strategy, the name of a signal, seconds, and the strategy's options."""

    strategy: str
    signal: str
    grace: float
    options: dict[str, Any] = {}

    def for_call(self, call: StopSpec | None) -> "StopPlan":
        """Return this with what a call names in its place; raise InvalidSpec."""
        if call is None:
            return self
        return StopPlan(
            self.strategy if call.strategy is None else call.strategy,
            self.signal if call.signal is None else name_of(signal_number(call.signal, "stop.signal")),
            self.grace if call.grace is None else seconds(call.grace, "stop.grace"),
            call.options or (self.options if call.strategy is None else {}),
        )


class TimeLimit(Struct, frozen=True):
    """A time limit: the name of its policy, the policy's options, and how the job's exit names it if not by these."""

    policy: str
    options: dict[str, Any]
    text: str = ""


class Defaults(Struct, frozen=True):
    """The settings of the configuration for all jobs, parsed; `timeout` in seconds, 0: none."""

    path: str
    lang: str
    namespace: bool
    private_tmp: bool
    sandbox: dict[str, Any] | None
    log_max_bytes: int
    timeout: float
    time_limits: list[TimeLimit]
    stop: StopPlan

    @classmethod
    def of(cls, config: Jobs) -> "Defaults":
        return cls(
            path=config.path,
            lang=config.lang,
            namespace=config.pid_namespace,
            private_tmp=config.private_tmp,
            sandbox=_sandbox(config.sandbox, "jobs.sandbox"),
            log_max_bytes=size(config.log_max_bytes, "jobs.log_max_bytes"),
            timeout=seconds(config.timeout, "jobs.timeout"),
            time_limits=[TimeLimit(limit.policy, limit.options) for limit in config.timeout_policies],
            stop=StopPlan(
                config.stop_strategy,
                signal_name(config.stop_signal, "jobs.stop_signal"),
                seconds(config.grace, "jobs.grace"),
            ),
        )


class LaunchPlan(Struct, frozen=True, kw_only=True):
    """What a spec means on this host, in numbers: bytes, seconds, and as the kernel has it."""

    spec: JobSpec  # of which this is the plan
    argv: list[str]
    env: dict[str, str]  # all variables but the marker
    cwd: str
    user: Identity | None  # None: the agent's own
    umask: int | None  # this and the next: None leaves what the agent has
    nice: int | None
    rlimits: dict[str, tuple[int, int]]  # soft and hard, -1: unlimited
    limits: dict[str, Any]  # by kind, as the keeper has them
    namespace: bool
    private_tmp: bool
    sandbox: dict[str, Any] | None  # as the keeper has it; None: it may do all
    log: LogPlan
    stop: StopPlan
    time_limits: list[TimeLimit]
    stop_leftovers: bool

    def message(self, job: str) -> dict[str, Any]:
        """Return the message that launches the job: nothing in it is of the agent's own environment."""
        message: dict[str, Any] = {"id": job, "argv": self.argv, "env": self.env | {MARKER: job}, "cwd": self.cwd}
        message |= {"namespace": self.namespace, "limits": self.limits}
        return message | self.process_message() | self.stream_message()

    def stream_message(self) -> dict[str, Any]:
        """Return the part about the log, and about the input and the terminal if the job has them."""
        tty = self.spec.terminal()
        terminal = {} if tty is None else {"tty": {"rows": tty.rows, "cols": tty.cols}}
        return self.log.message() | terminal | ({"stdin": "pipe"} if self.spec.has_input() else {})

    def process_message(self) -> dict[str, Any]:
        """Return the part about user, umask, nice and rlimits, as far as the spec has them."""
        user = None if self.user is None else user_message(self.user)
        parts = {"user": user, "umask": self.umask, "nice": self.nice, "rlimits": self.rlimits or None}
        parts |= {"sandbox": self.sandbox, "private_tmp": self.private_tmp or None}
        return {name: value for name, value in parts.items() if value is not None}

    def run_as(self, user: Identity | None, defaults: Defaults) -> "LaunchPlan":
        """Return the plan for another user."""
        env, cwd = _environment(self.spec, defaults, user)
        return msgspec.structs.replace(self, user=user, env=env, cwd=cwd)

    def has_total(self) -> bool:
        """Whether a limit counts from the start of the job."""
        return any(limit.policy == TOTAL for limit in self.time_limits)


def plan(spec: JobSpec, defaults: Defaults, user: Identity | None) -> LaunchPlan:
    """Parse every value of a spec; raise InvalidSpec for one that has no meaning."""
    checked = _check_types(spec)
    here = spec.elsewhere() is None  # the defaults for what the keeper does are not for an executor
    env, cwd = _environment(spec, defaults, user)
    return LaunchPlan(
        spec=spec,
        argv=spec.command(),
        env=env,
        cwd=cwd,
        user=user,
        umask=None if spec.umask is None else umask(spec.umask),
        nice=checked.nice,
        rlimits={name: rlimit(name, value) for name, value in spec.rlimits.items()},
        limits=parse_limits(spec.limits),
        namespace=defaults.namespace and here if spec.pid_namespace is UNSET else bool(spec.pid_namespace),
        private_tmp=defaults.private_tmp and here if spec.private_tmp is UNSET else bool(spec.private_tmp),
        sandbox=(defaults.sandbox if here else None) if spec.sandbox is None else _sandbox(spec.sandbox, "sandbox"),
        log=LogPlan(
            _log_bytes(spec.log, defaults),
            checked.log.keep,
            spec.log.merge,
            drop=checked.log.on_full == "drop",
            wait=checked.log.on_bound == "wait",
        ),
        stop=defaults.stop.for_call(spec.stop),
        time_limits=_time_limits(spec, defaults),
        stop_leftovers=checked.leftovers == "stop",
    )


def _check_types(spec: JobSpec) -> _Checked:
    try:
        return msgspec.convert(spec, _Checked, from_attributes=True)
    except msgspec.ValidationError as error:
        field, sentence = describe_error(str(error), to_builtins(spec), _Checked)
        raise InvalidSpec(sentence, field=field) from error


def _environment(spec: JobSpec, defaults: Defaults, user: Identity | None) -> tuple[dict[str, str], str]:
    """Return the variables of a job, without the marker, and its folder."""
    user = user or own()
    env = {"PATH": defaults.path, "HOME": user.home, "USER": user.name, "LANG": defaults.lang}
    if (tty := spec.terminal()) is not None:
        env["TERM"] = tty.term
    return env | spec.variables(), folder_of(spec, user)


def folder_of(spec: JobSpec, user: Identity | None) -> str:
    """Return the folder in which a job starts."""
    return spec.folder() or (user or own()).folder


def _sandbox(spec: SandboxSpec, field: str) -> dict[str, Any] | None:
    """Return a sandbox as the keeper has it, None if it confines nothing; raise InvalidSpec."""
    wrong = [path for path in spec.write if not path.startswith("/") or "\0" in path]
    if wrong or len(spec.write) > MAX_WRITE_PATHS:
        found = f"{wrong[0][:80]!r}" if wrong else f"{len(spec.write)} paths"
        expected = f"absolute paths, at most {MAX_WRITE_PATHS}"
        raise InvalidSpec(f"{field}.write: {found}; expected {expected}", field="sandbox")
    return None if spec == SandboxSpec() else {name: getattr(spec, name) for name in spec.__struct_fields__}


def _log_bytes(log: LogSpec, defaults: Defaults) -> int:
    if log.max_bytes is None:
        return defaults.log_max_bytes
    bound = size(log.max_bytes, "log.max_bytes")
    if bound < MIN_LOG:
        raise InvalidSpec(f"log.max_bytes: {bound}; expected {MIN_LOG} bytes (64KiB) or more", field="log.max_bytes")
    return bound


def _time_limits(spec: JobSpec, defaults: Defaults) -> list[TimeLimit]:
    """Return all time limits: policies, `timeout` (absent: the default), and `idle_timeout`."""
    limits = [TimeLimit(limit.policy, limit.options) for limit in spec.timeout_policies]
    limits += defaults.time_limits
    timeout = (defaults.timeout or None) if spec.timeout is UNSET else spec.timeout
    if timeout is not None:
        limits.append(total_limit(_positive(timeout, "timeout")))
    if spec.idle_timeout is not None:
        options = {"limit": _positive(spec.idle_timeout, "idle_timeout")}
        limits.append(TimeLimit("idle", options, f"by idle (limit {spec.idle_timeout})"))
    return limits


def total_limit(limit: float) -> TimeLimit:
    """Return the time limit of so many seconds after the start."""
    return TimeLimit(TOTAL, {"limit": limit})


def _positive(value: Duration, field: str) -> float:
    limit = seconds(value, field)
    if not limit:
        raise InvalidSpec(f"{field}: 0; expected more than 0 seconds, or null for no limit", field=field)
    return limit


def signal_number(name: str, field: str) -> int:
    """Return a signal by its name or number, as `validation.signal_name`; raise InvalidSpec."""
    number = number_of(name)
    if number is None:
        text = f"{field}: {repr(name)[:80]}; expected the name of a signal, as SIGTERM"
        raise InvalidSpec(text, field=field)
    return number


def umask(value: int | str) -> int:
    """Return a umask, given as a number or as octal text; raise InvalidSpec."""
    try:
        mask = int(value, 8) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    except ValueError:
        mask = value
    if not isinstance(mask, int) or not 0 <= mask <= MAX_UMASK:
        text = f'umask: {str(value)[:40]!r}; expected octal digits as "027", or a number from 0 to {MAX_UMASK}'
        raise InvalidSpec(text, field="umask")
    return mask


def rlimit(name: str, value: object) -> tuple[int, int]:
    """Return the soft and the hard limit, -1 for unlimited; raise InvalidSpec."""
    field = f"rlimits.{name[:40]}"
    if name not in RLIMITS:
        raise InvalidSpec(f"{field}: unknown; expected one of: {', '.join(RLIMITS)}", field=field)
    pair = value if isinstance(value, dict) else {"soft": value, "hard": value}
    soft, hard = (_amount(pair.get(which)) for which in ("soft", "hard"))
    if soft is None or hard is None or pair.keys() != {"soft", "hard"}:
        expected = f'a number from 0 to {MAX_RLIMIT}, "unlimited", or both as {{"soft", "hard"}}'
        raise InvalidSpec(f"{field}: {repr(value)[:80]}; expected {expected}", field=field)
    if hard != resource.RLIM_INFINITY and not 0 <= soft <= hard:
        raise InvalidSpec(f"{field}: {repr(value)[:80]}; expected soft to be no more than hard", field=field)
    return soft, hard


def _amount(value: object) -> int | None:
    if value == "unlimited":
        return resource.RLIM_INFINITY
    return value if type(value) is int and 0 <= value <= MAX_RLIMIT else None
