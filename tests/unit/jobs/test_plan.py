"""The plan of a spec: every value in it parsed, once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from jobworker.config import Config, Jobs
from jobworker.errors import InvalidSpec
from jobworker.jobs import plan as plans
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.identity import Identity, own
from jobworker.jobs.plan import Defaults, LogPlan, StopPlan, TimeLimit, plan
from jobworker.jobs.record import JobRecord, ProcessRecord, new_id
from jobworker.jobs.spec_rules import Specs
from jobworker.model import Job, JobSpec, LimitSpec, LogSpec, State, StopSpec, TimeoutSpec
from jobworker.plugin.host import PluginHost
from jobworker.plugin.loader import load

DEFAULTS = Defaults.of(Jobs(timeout="1h", grace="1m", log_max_bytes="1MiB", path="/bin", lang="C"))
DEPLOY = Identity("deploy", 1001, 1001, [33, 1001], "/home/deploy", "/")
FULL = JobSpec(
    argv=["prog", "x"],
    env={"A": "b", "LANG": "de"},
    cwd="/there",
    umask="027",
    nice=5,
    rlimits={"nofile": 10, "core": {"soft": 0, "hard": "unlimited"}},
    limits=LimitSpec(cpus=0.5, memory="64MiB", pids=9, io_write={"8:0": "1M"}),
    timeout="90s",
    idle_timeout="2m",
    timeout_policies=[TimeoutSpec("cpu", {"limit": "5s"})],
    stop=StopSpec(signal="INT", grace="250ms"),
    log=LogSpec(max_bytes="128KiB", keep="oldest", merge=True, on_full="drop"),
    leftovers="leave",
    pid_namespace=True,
)


def record(spec: JobSpec, state: State = State.CREATED) -> JobRecord:
    job = Job(id=new_id(), name=None, state=state, spec=spec, owner="o", created_at="2026")
    return JobRecord(job=job, process=ProcessRecord())


@pytest.fixture
def specs(tmp_path: Path) -> Iterator[Specs]:
    host = PluginHost(5)
    capabilities = {"limits": ["memory", "pids", "cpus"], "namespace": "root"}
    yield Specs(DEFAULTS, load(Config(), tmp_path, host), host, lambda: capabilities)
    host.close()


def test_every_value_is_a_number() -> None:
    """Durations in seconds, sizes in bytes, limits as the kernel has them."""
    planned = plan(FULL, DEFAULTS, DEPLOY)
    assert planned.argv == ["prog", "x"]
    assert planned.env == {"PATH": "/bin", "HOME": "/home/deploy", "USER": "deploy", "LANG": "de", "A": "b"}
    assert (planned.cwd, planned.umask, planned.nice, planned.namespace) == ("/there", 0o27, 5, True)
    assert planned.rlimits == {"nofile": (10, 10), "core": (0, -1)}
    assert planned.limits == {"memory": 64 << 20, "pids": 9, "cpus": 0.5, "io": {"write": {"8:0": 1_000_000}}}
    assert planned.log == LogPlan(128 << 10, "oldest", merge=True, drop=True, wait=False)
    assert planned.stop == StopPlan("graceful", "SIGINT", 0.25)
    assert planned.time_limits == [
        TimeLimit("cpu", {"limit": "5s"}),
        TimeLimit("total", {"limit": 90.0}),
        TimeLimit("idle", {"limit": 120.0}, "by idle (limit 2m)"),
    ]
    assert not planned.stop_leftovers


def test_what_a_spec_leaves_to_the_configuration() -> None:
    """The defaults are parsed as well."""
    planned = plan(JobSpec(shell="ls"), DEFAULTS, None)
    assert planned.argv == ["/bin/sh", "-c", "ls"]
    assert (planned.cwd, planned.env["USER"]) == (own().folder, own().name)
    assert (planned.log.max_bytes, planned.stop.grace) == (1 << 20, 60.0)
    assert planned.time_limits == [TimeLimit("total", {"limit": 3600.0})]
    assert plan(JobSpec(shell="ls", timeout=None), DEFAULTS, None).time_limits == []


def test_the_message_to_the_keeper() -> None:
    """It has what the job's spec has, and of the settings of a process only those that the spec has."""
    message = plan(FULL, DEFAULTS, DEPLOY).message("a" * 12)
    assert message["env"]["JOBWORKER_JOB_ID"] == message["id"] == "a" * 12
    assert message["user"] == {"uid": 1001, "gid": 1001, "groups": [33, 1001]}
    assert (message["umask"], message["max"], message["drop"]) == (0o27, 128 << 10, True)
    bare = plan(JobSpec(shell="ls", umask=0), DEFAULTS, None).message("a" * 12)
    assert bare["umask"] == 0
    assert not {"user", "nice", "rlimits"} & bare.keys()


def test_the_options_of_a_call_come_first() -> None:
    """What a call names replaces what the spec has; another strategy does not get the spec's options."""
    stop = StopPlan("ladder", "SIGTERM", 10.0, {"steps": []})
    assert stop.for_call(None) is stop
    assert stop.for_call(StopSpec(signal="INT", grace="1s")) == StopPlan("ladder", "SIGINT", 1.0, {"steps": []})
    assert stop.for_call(StopSpec(strategy="kill")) == StopPlan("kill", "SIGTERM", 10.0, {})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (JobSpec(nice=20), "nice: 20; expected -20 to 19"),
        (JobSpec(leftovers="eat"), 'leftovers: \'eat\'; expected "leave" or "stop"'),
        (JobSpec(log=LogSpec(keep="both")), 'log.keep: \'both\'; expected "newest" or "oldest"'),
        (JobSpec(log=LogSpec(on_full="burst")), 'log.on_full: \'burst\'; expected "drop" or "wait"'),
        (JobSpec(limits=LimitSpec(pids=0)), "limits.pids: 0; expected 1 to 4194304"),
        (JobSpec(limits=LimitSpec(cpus=2000)), "limits.cpus: 2000; expected 0.01 to 1024"),
        (JobSpec(limits=LimitSpec(cpus=0.001)), "limits.cpus: 0.001; expected 0.01 to 1024"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_type_refuses_it(spec: JobSpec, message: str) -> None:
    """The error has the field, the value, and what the field may have."""
    with pytest.raises(InvalidSpec) as caught:
        plan(spec, DEFAULTS, None)
    assert (caught.value.message, caught.value.data["field"]) == (message, message.partition(":")[0])


async def test_a_spec_is_parsed_once(specs: Specs, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its creation to its end a job has one plan; a changed spec has a new one."""
    calls: list[tuple[Any, ...]] = []

    def counted(parse: Callable[..., Any]) -> Callable[..., Any]:
        def call(*values: Any) -> Any:
            calls.append(values)
            return parse(*values)

        return call

    for name in ("seconds", "size", "umask", "rlimit", "parse_limits"):
        monkeypatch.setattr(plans, name, counted(getattr(plans, name)))
    spec = replace(FULL, limits=LimitSpec(memory="64MiB"))
    checked = await specs.check(spec)
    count = len(calls)
    active = ActiveJob(record(spec))
    specs.keep(active.id, checked)
    assert specs.plan_of(active) is checked
    again = msgspec.convert(msgspec.to_builtins(spec), JobSpec)
    active.record = active.record.with_job(spec=again)
    assert specs.plan_of(active).spec is again
    assert len(calls) == count == 8, "each value once"
    changed = await specs.check(replace(spec, timeout="5s"))
    active.record = active.record.with_job(spec=changed.spec)
    specs.use(active, changed)
    count = len(calls)
    assert specs.plan_of(active).time_limits[1].options == {"limit": 5.0}
    assert len(calls) == count


def test_a_running_job_whose_spec_cannot_be_used(specs: Specs) -> None:
    """Another version accepted it: it is adopted and stopped as the configuration says, and never started."""
    spec = JobSpec(argv=["prog"], cwd="/there", rlimits={"moon": 1})
    with pytest.raises(InvalidSpec, match=r"rlimits\.moon"):
        specs.plan_of(ActiveJob(record(spec)))
    active = ActiveJob(record(spec, State.RUNNING))
    planned = specs.plan_of(active)
    assert (planned.argv, planned.cwd, planned.stop, planned.time_limits) == (["prog"], "/there", DEFAULTS.stop, [])
    assert specs.plan_of(active) is planned
