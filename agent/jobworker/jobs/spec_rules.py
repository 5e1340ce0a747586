"""Check a spec, and build the message from which the keeper launches it."""

import signal
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from msgspec import UNSET

from jobworker.config import Jobs
from jobworker.errors import InvalidSpec, JobworkerError, NotSupported, PolicyRejected
from jobworker.interfaces import StopOptions, StopStrategy, TimeoutPolicy
from jobworker.jobs.limits import check_limits, limits_message
from jobworker.jobs.record import Identity
from jobworker.jobs.users import own, process_message
from jobworker.linux.proc import MARKER
from jobworker.model import MIN_LOG, JobSpec, LogSpec, StopSpec, TimeoutSpec
from jobworker.plugin.host import PluginFault, PluginHost, said
from jobworker.plugin.loader import Registry
from jobworker.units import Duration, seconds, size

# Fields of the protocol that this version does not implement: a spec with them is refused.
UNSUPPORTED = ("stdin", "tty")

TOTAL = "total"  # the policy of `timeout`
MAX_LABELS = 64
LABEL_NAME, LABEL_VALUE = 128, 1024  # characters


class Specs:
    """The rules for specs under one configuration and its plugins."""

    def __init__(
        self, config: Jobs, registry: Registry, host: PluginHost, capabilities: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._config = config
        self._capabilities = capabilities  # returns the capabilities of this host, from the keeper
        self._strategies = registry.stop_strategies
        self._policies = registry.timeout_policies
        self._host = host
        self._without_options: set[str] = set()  # strategies and policies that accepted no options: not asked again

    async def check(self, spec: JobSpec) -> None:
        """Raise InvalidSpec, NotSupported or PolicyRejected."""
        for field in UNSUPPORTED:
            value = getattr(spec, field)
            if value is not None and value is not False:
                raise NotSupported(f"spec.{field}: this version does not support it", field=field)
        process_message(spec, None)
        check_log(spec.log)
        check_limits(spec.limits, self._capabilities().get("limits", ()))
        self._check_namespace(spec)
        check_command(spec)
        check_environment(spec.env)
        check_labels(spec.labels)
        if spec.cwd is not None and (not spec.cwd.startswith("/") or "\0" in spec.cwd):
            raise InvalidSpec(f"cwd: {spec.cwd[:80]!r}; expected an absolute path", field="cwd")
        if spec.name is not None and (not spec.name or len(spec.name) > 128 or not spec.name.isprintable()):
            raise InvalidSpec(f"name: {spec.name[:140]!r}; expected 1 to 128 printable characters", field="name")
        if spec.leftovers not in ("stop", "leave"):
            raise InvalidSpec(f'leftovers: {spec.leftovers!r}; expected "stop" or "leave"', field="leftovers")
        await self.stop_options(spec, None)
        for limit in self.limits(spec):
            await self._check_options("timeout_policies", self.policy(limit.policy), limit.options)

    def _check_namespace(self, spec: JobSpec) -> None:
        if not namespaced(spec, self._config) or self._capabilities().get("namespace"):
            return
        setting = "jobs.pid_namespace of the configuration" if spec.pid_namespace is UNSET else "spec.pid_namespace"
        why = self._capabilities().get("no_namespace") or "the keeper is of an older version"
        text = f"{setting}: this host cannot give a job a pid namespace of its own: {why}"
        raise NotSupported(text, field="pid_namespace")

    def limits(self, spec: JobSpec) -> list[TimeoutSpec]:
        """Return all time limits of the job: `timeout` (absent: the default), `idle_timeout`, and policies."""
        limits = [*spec.timeout_policies, *self._config.timeout_policies]
        timeout = self._config.timeout if spec.timeout is UNSET else spec.timeout
        if timeout is not None and (spec.timeout is not UNSET or seconds(timeout, "jobs.timeout")):
            limits.append(TimeoutSpec(TOTAL, {"limit": _limit(timeout, "timeout")}))
        if spec.idle_timeout is not None:
            _limit(spec.idle_timeout, "idle_timeout")
            limits.append(TimeoutSpec("idle", {"limit": spec.idle_timeout}))
        return limits

    def fallback(self, spec: JobSpec) -> TimeoutSpec | None:
        """Return the default limit that replaces a policy that fails; None if the job has a total limit."""
        limit = seconds(self._config.timeout, "jobs.timeout")
        if (
            not limit
            or TOTAL not in self._policies
            or any(limit_spec.policy == TOTAL for limit_spec in self.limits(spec))
        ):
            return None
        return TimeoutSpec(TOTAL, {"limit": limit})

    def policy(self, name: str) -> TimeoutPolicy:
        if name not in self._policies:
            raise _unknown("timeout_policies", "timeout policy", name, self._policies)
        return self._policies[name]

    async def stop_options(self, spec: JobSpec, call: StopSpec | None) -> tuple[StopStrategy, StopOptions]:
        """Return how to stop a job: by the call, else by its spec, else by the configuration."""
        call = call or StopSpec()
        name = _first(call.strategy, spec.stop.strategy, self._config.stop_strategy)
        if name not in self._strategies:
            raise _unknown("stop.strategy", "stop strategy", name, self._strategies)
        chosen = _first(call.signal, spec.stop.signal, self._config.stop_signal)
        grace = next(value for value in (call.grace, spec.stop.grace, self._config.grace) if value is not None)
        options = call.options or (spec.stop.options if call.strategy is None else {})
        strategy = self._strategies[name]
        await self._check_options("stop.options", strategy, options)
        return strategy, StopOptions(signal_number(chosen, "stop.signal").name, seconds(grace, "stop.grace"), options)

    def environment(self, spec: JobSpec, identity: Identity | None) -> tuple[dict[str, str], str]:
        """Return the variables and the folder with which a job is started."""
        return environment(spec, self._config, identity)

    async def _check_options(
        self, field: str, checker: StopStrategy | TimeoutPolicy, options: Mapping[str, Any]
    ) -> None:
        if not options and checker.name in self._without_options:
            return

        def check() -> str:
            try:
                checker.check(deepcopy(options))
            except ValueError as error:
                return said(error).removeprefix(": ") or "no reason given"
            return ""

        try:
            refusal = await self._host.run(checker, check)
        except (PluginFault, JobworkerError) as error:
            refusal = str(error)
        if refusal:
            raise PolicyRejected(f"{field}: {checker.name} refuses its options: {refusal[:500]}", field=field)
        if not options:
            self._without_options.add(checker.name)


def check_command(spec: JobSpec) -> None:
    commands = [name for name in ("argv", "shell") if getattr(spec, name) is not UNSET]
    if len(commands) != 1:
        field = "shell" if commands else "argv"
        raise InvalidSpec(
            f"argv, shell: {'both' if commands else 'neither'} given; expected exactly one", field=field
        )
    field = commands[0]
    words = spec.command()
    if not words or not words[0] or spec.shell == "":
        raise InvalidSpec(f"{field}: it is empty; expected a program to run", field=field)
    if any("\0" in word for word in words):
        raise InvalidSpec(f"{field}: it holds a NUL character; expected none", field=field)


def check_log(log: LogSpec) -> None:
    if log.max_bytes is not None and (bound := size(log.max_bytes, "log.max_bytes")) < MIN_LOG:
        raise InvalidSpec(f"log.max_bytes: {bound}; expected {MIN_LOG} bytes (64KiB) or more", field="log.max_bytes")
    if log.keep not in ("newest", "oldest"):
        raise InvalidSpec(f'log.keep: {log.keep[:40]!r}; expected "newest" or "oldest"', field="log.keep")
    if log.on_full not in ("wait", "drop"):
        raise InvalidSpec(f'log.on_full: {log.on_full[:40]!r}; expected "wait" or "drop"', field="log.on_full")


def check_environment(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if not name or "=" in name or "\0" in name:
            raise InvalidSpec(f"env: the name {name[:80]!r}; expected one without '=' and NUL", field="env")
        if "\0" in value:
            raise InvalidSpec(f"env: the value of {name[:80]!r} holds a NUL character; expected none", field="env")


def check_labels(labels: Mapping[str, str]) -> None:
    """Raise InvalidSpec for labels that are too many or too long: each event of the job carries them."""
    if len(labels) > MAX_LABELS:
        raise InvalidSpec(f"labels: {len(labels)} labels; expected at most {MAX_LABELS}", field="labels")
    for name, value in labels.items():
        if not 0 < len(name) <= LABEL_NAME or len(value) > LABEL_VALUE:
            what = f"labels: {name[:80]!r}: {len(name)} and {len(value)} characters"
            expected = f"1 to {LABEL_NAME} for its name and at most {LABEL_VALUE} for its value"
            raise InvalidSpec(f"{what}; expected {expected}", field="labels")


def signal_number(name: str, field: str) -> signal.Signals:
    """Return a signal by its name, with or without SIG; raise InvalidSpec."""
    full = name if name.startswith("SIG") else f"SIG{name}"
    try:
        return signal.Signals[full]
    except KeyError:
        raise InvalidSpec(f"{field}: {name[:40]!r}; expected the name of a signal, as SIGTERM", field=field) from None


def launch_message(job: str, spec: JobSpec, config: Jobs, identity: Identity | None) -> dict[str, Any]:
    """Return the message that launches a job: argv, environment (nothing of the agent's own), folder."""
    env, cwd = environment(spec, config, identity)
    message: dict[str, Any] = {"id": job, "argv": spec.command(), "env": env | {MARKER: job}, "cwd": cwd}
    message |= {"namespace": namespaced(spec, config), "limits": limits_message(spec.limits)}
    message |= process_message(spec, identity)
    return message | log_message(spec.log, config.log_max_bytes)


def log_message(log: LogSpec, bound: int | str) -> dict[str, Any]:
    """Return the part of a message about the job's log; `bound` is its size if the spec names none."""
    limit = size(bound if log.max_bytes is None else log.max_bytes, "log.max_bytes")
    return {"drop": log.drops, "max": limit, "keep": log.keep, "merge": log.merge}


def namespaced(spec: JobSpec, config: Jobs) -> bool:
    """Whether the job gets a pid namespace of its own."""
    return config.pid_namespace if spec.pid_namespace is UNSET else bool(spec.pid_namespace)


def environment(spec: JobSpec, config: Jobs, identity: Identity | None) -> tuple[dict[str, str], str]:
    """Return the variables of a job, without the marker, and its folder."""
    user = identity or own()
    env = {"PATH": config.path, "HOME": user.home, "USER": user.name, "LANG": config.lang}
    return env | spec.env, spec.cwd or user.folder


def _first(*values: str | None) -> str:
    """Return the first value that is not None."""
    return next(value for value in values if value is not None)


def _limit(value: Duration, field: str) -> float:
    limit = seconds(value, field)
    if not limit:
        raise InvalidSpec(f"{field}: 0; expected more than 0 seconds, or null for no limit", field=field)
    return limit


def _unknown(field: str, what: str, name: str, known: Mapping[str, Any]) -> InvalidSpec:
    return InvalidSpec(f"{field}: no {what} {name[:80]!r}; there are: {', '.join(sorted(known))}", field=field)
