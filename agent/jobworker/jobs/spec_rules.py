"""Check a spec, with the plugins that it names, and keep the plans of jobs."""

import logging
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from jobworker.errors import InvalidSpec, JobworkerError, NotSupported, PolicyRejected
from jobworker.executors import Executor
from jobworker.interfaces import LongStopStrategy, StopOptions, StopStrategy, TimeoutPolicy
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.limits import check_limits
from jobworker.jobs.plan import TOTAL, Defaults, LaunchPlan, StopPlan, TimeLimit, plan, total_limit
from jobworker.jobs.remote.rules import check_spec
from jobworker.linux.sandbox import EVERYWHERE
from jobworker.model import LOCAL, JobSpec
from jobworker.plugin.host import PluginFault, PluginHost, said
from jobworker.plugin.loader import Registry
from jobworker.units import seconds

log = logging.getLogger(__name__)

MAX_LABELS = 64
LABEL_NAME, LABEL_VALUE = 128, 1024  # characters
MAX_PATH_FOLDERS = 1024  # each is looked into at a start
MAX_POLICIES = 32  # each is a task that asks a plugin
MAX_NEW_PLANS = 16  # of jobs that were created and are not in memory; a spec may have a megabyte


class Specs:
    """The rules for specs under one configuration and its plugins."""

    def __init__(
        self, defaults: Defaults, registry: Registry, host: PluginHost, capabilities: Callable[[], Mapping[str, Any]]
    ) -> None:
        self.defaults = defaults
        self.hidden_waits: Callable[[], str] = lambda: ""  # returns why it is not seen here whether a job waits
        self._capabilities = capabilities  # returns the capabilities of this host, from the keeper
        self._strategies = registry.stop_strategies
        self._policies = registry.timeout_policies
        self._executors = registry.executors
        self._host = host
        self._without_options: set[str] = set()  # strategies and policies that accepted no options: not asked again
        self._new: dict[str, LaunchPlan] = {}  # plans of created jobs, by id, for the start that usually follows

    async def check(self, spec: JobSpec) -> LaunchPlan:
        """Return the plan of a spec, for the agent's own user; raise InvalidSpec, NotSupported or PolicyRejected."""
        if len(spec.timeout_policies) > MAX_POLICIES:  # first: the plugins are asked about each
            text = f"timeout_policies: {len(spec.timeout_policies)}; expected at most {MAX_POLICIES}"
            raise InvalidSpec(text, field="timeout_policies")
        checked = plan(spec, self.defaults, None)
        if (elsewhere := spec.elsewhere()) is None:
            self._check_host(checked)
        else:
            check_spec(spec, elsewhere.name)
            await self._check_options("executor.options", self._executor(elsewhere.name), elsewhere.options)
        check_command(spec)
        check_environment(spec.variables())
        check_labels(spec.labels)
        if spec.cwd is not None and (not (cwd := spec.folder()).startswith("/") or "\0" in cwd):
            raise InvalidSpec(f"cwd: {cwd[:80]!r}; expected an absolute path", field="cwd")
        if spec.name is not None and (not spec.name or len(spec.name) > 128 or not spec.name.isprintable()):
            raise InvalidSpec(f"name: {spec.name[:140]!r}; expected 1 to 128 printable characters", field="name")
        await self.stop_options(checked.stop)
        self._check_waiting(spec)
        for limit in checked.time_limits:
            await self._check_options("timeout_policies", self.policy(limit.policy), limit.options)
        return checked

    def _check_host(self, checked: LaunchPlan) -> None:
        """Raise for what this host cannot give a job."""
        check_limits(checked.spec.limits, checked.limits, self._capabilities().get("limits", ()))
        self._check_namespace(checked)
        self._check_sandbox(checked)
        self._check_terminal(checked.spec)
        self._check_input(checked.spec)

    def _executor(self, name: str) -> Executor:
        if name not in self._executors:
            raise _unknown("executor.name", "executor", name, {LOCAL: None, **self._executors})
        return self._executors[name]

    def _check_namespace(self, checked: LaunchPlan) -> None:
        if not checked.namespace or self._capabilities().get("namespace"):
            return
        unset = checked.spec.pid_namespace is UNSET
        setting = "jobs.pid_namespace of the configuration" if unset else "spec.pid_namespace"
        why = self._capabilities().get("no_namespace") or "the keeper is of an older version"
        text = f"{setting}: this host cannot give a job a pid namespace of its own: {why}"
        raise NotSupported(text, field="pid_namespace")

    def _check_terminal(self, spec: JobSpec) -> None:
        if spec.tty is False or self._capabilities().get("terminal"):
            return
        why = self._capabilities().get("no_terminal") or "the keeper is of an older version"
        raise NotSupported(f"spec.tty: jobs can have no terminal on this host: {why}", field="tty")

    def _check_sandbox(self, checked: LaunchPlan) -> None:
        asked = checked.sandbox or {}
        parts = {part for part in ("network", "userns") if asked.get(part) is False}
        if asked and asked["write"] != EVERYWHERE:
            parts.add("write")
        if lacking := parts.difference(self._capabilities().get("sandbox", ())):
            setting = "jobs.sandbox of the configuration" if checked.spec.sandbox is None else "spec.sandbox"
            why = self._capabilities().get("no_sandbox") or "the keeper is of an older version"
            text = f"{setting}: {', '.join(sorted(lacking))}: this host cannot confine a job so: {why}"
            raise NotSupported(text, field="sandbox")
        if checked.private_tmp and not self._capabilities().get("private_tmp"):
            setting = (
                "jobs.private_tmp of the configuration" if checked.spec.private_tmp is UNSET else "spec.private_tmp"
            )
            why = self._capabilities().get("no_private_tmp") or "the keeper is of an older version"
            text = f"{setting}: this host cannot give a job a /tmp of its own: {why}"
            raise NotSupported(text, field="private_tmp")

    def _check_input(self, spec: JobSpec) -> None:
        if spec.has_input() and not self._capabilities().get("stdin"):
            field = "tty" if spec.stdin is None else "stdin"
            raise NotSupported(f"spec.{field}: the keeper is of an older version", field=field)

    def _check_waiting(self, spec: JobSpec) -> None:
        """Raise for a limit of the spec that would never be due: on a wait for an input that there is not."""
        for limit in spec.timeout_policies:
            if not getattr(self.policy(limit.policy), "wants_waiting", False):
                continue
            if not spec.has_input():
                text = f'timeout_policies: {limit.policy}: the job has no input; expected stdin "pipe", or a tty'
                raise InvalidSpec(text, field="timeout_policies")
            if why := self.hidden_waits():
                text = f"timeout_policies: {limit.policy}: this host does not show whether a job waits: {why}"
                raise NotSupported(text, field="timeout_policies")

    def keep(self, job: str, made: LaunchPlan) -> None:
        """Keep the plan of a job that is created now until the job is in memory."""
        self._new[job] = made
        if len(self._new) > MAX_NEW_PLANS:
            del self._new[next(iter(self._new))]

    def use(self, active: ActiveJob, made: LaunchPlan) -> None:
        """Replace the plan of a job whose spec was changed."""
        active.plan = made.run_as(active.record.identity, self.defaults)

    def plan_of(self, active: ActiveJob) -> LaunchPlan:
        """Return the plan of a job, made once for each spec of it; raise InvalidSpec if it is to be started."""
        made, spec = active.plan or self._new.pop(active.id, None), active.record.job.spec
        if made is None or made.spec is not spec:
            # An equal spec was read from the table since: one copy of it is enough.
            made = replace(made, spec=spec) if made is not None and made.spec == spec else self._plan(active, spec)
        active.plan = made
        return made

    def _plan(self, active: ActiveJob, spec: JobSpec) -> LaunchPlan:
        user = active.record.identity
        try:
            return plan(spec, self.defaults, user)
        except InvalidSpec as error:
            if active.is_created() and not active.record.process.launching:
                raise
            # Another version accepted it and the job runs: it must be possible to adopt and to stop it.
            log.error("job %s: its spec cannot be used, the defaults take its place: %s", active.id, error.message)
            basic = JobSpec(argv=spec.command(), env=spec.env, cwd=spec.cwd, timeout=None)
            return replace(plan(basic, self.defaults, user), spec=spec)

    def fallback(self, planned: LaunchPlan) -> TimeLimit | None:
        """Return the default limit that replaces a policy that fails; None if the job has a total limit."""
        if not self.defaults.timeout or TOTAL not in self._policies or planned.has_total():
            return None
        return total_limit(self.defaults.timeout)

    def policy(self, name: str) -> TimeoutPolicy:
        if name not in self._policies:
            raise _unknown("timeout_policies", "timeout policy", name, self._policies)
        return self._policies[name]

    async def stop_options(self, stop: StopPlan) -> tuple[StopStrategy, StopOptions]:
        """Return the strategy of a stop, and its options, which it has accepted."""
        if stop.strategy not in self._strategies:
            raise _unknown("stop.strategy", "stop strategy", stop.strategy, self._strategies)
        strategy = self._strategies[stop.strategy]
        await self._check_options("stop.options", strategy, stop.options)
        return strategy, StopOptions(stop.signal, stop.grace, stop.options)

    async def longest_stop(self, stop: StopPlan) -> float:
        """Return the seconds that a stop may take until it kills; raise the errors of `stop_options`."""
        strategy, options = await self.stop_options(stop)
        if not isinstance(strategy, LongStopStrategy):
            return options.grace
        try:
            return await self._host.run(strategy, lambda: seconds(strategy.longest(deepcopy(options)), "longest"))
        except (PluginFault, JobworkerError) as error:
            text = f"stop: {strategy.name} could not compute how long it takes: {str(error)[:500]}"
            raise PolicyRejected(text, field="stop") from error

    async def _check_options(
        self, field: str, checker: StopStrategy | TimeoutPolicy | Executor, options: Mapping[str, Any]
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
            text = f"{field}: {checker.name} could not check its options: {str(error)[:500]}"
            raise PolicyRejected(text, field=field) from error
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
    if not words or not words[0] or (field == "shell" and not words[-1]):
        raise InvalidSpec(f"{field}: it is empty; expected a program to run", field=field)
    if any("\0" in word for word in words):
        raise InvalidSpec(f"{field}: it holds a NUL character; expected none", field=field)


def check_environment(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if not name or "=" in name or "\0" in name:
            raise InvalidSpec(f"env: the name {name[:80]!r}; expected one without '=' and NUL", field="env")
        if name == "PATH" and (folders := value.count(":") + 1) > MAX_PATH_FOLDERS:
            raise InvalidSpec(f"env: PATH has {folders} folders; expected at most {MAX_PATH_FOLDERS}", field="env")
        if "\0" in value:
            raise InvalidSpec(f"env: the value of {name[:80]!r} holds a NUL character; expected none", field="env")


def check_labels(labels: Mapping[str, str]) -> None:
    """Raise InvalidSpec for labels that are too many or too long, or that a terminal would not just print.

    Each event of the job carries them.
    """
    if len(labels) > MAX_LABELS:
        raise InvalidSpec(f"labels: {len(labels)} labels; expected at most {MAX_LABELS}", field="labels")
    for name, value in labels.items():
        if not 0 < len(name) <= LABEL_NAME or len(value) > LABEL_VALUE:
            what = f"labels: {name[:80]!r}: {len(name)} and {len(value)} characters"
            expected = f"1 to {LABEL_NAME} for its name and at most {LABEL_VALUE} for its value"
            raise InvalidSpec(f"{what}; expected {expected}", field="labels")
        if not name.isprintable() or not value.isprintable():
            raise InvalidSpec(f"labels: {name[:80]!r}: {value[:80]!r}; expected printable characters", field="labels")


def _unknown(field: str, what: str, name: str, known: Mapping[str, Any]) -> InvalidSpec:
    return InvalidSpec(f"{field}: no {what} {name[:80]!r}; there are: {', '.join(sorted(known))}", field=field)
