"""An agent of root as a system unit: what most servers run."""

import re
import socket

import pytest
from tests.vm.agents import CGROUPS, LIMITS, Agent, unit_text
from tests.vm.guest import Guest

pytestmark = pytest.mark.vm
COUNTER = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"


def test_jobs_run_in_cgroups_with_limits(unit: Agent) -> None:
    done = unit.jw("run -w / -- echo hello")
    assert (done.code, done.stdout) == (0, "hello\n")
    capabilities = unit.info()["capabilities"]
    assert capabilities["stop"] == "cgroup"
    assert set(capabilities["limits"]) >= LIMITS
    unit.check_limits()


@pytest.mark.slow
def test_the_cgroup_of_the_unit_stays_a_domain(unit: Agent) -> None:
    """Threaded controllers enabled beside processes turn it into `domain threaded`, and no job can be started."""
    unit.jw("run -w / -- true")
    job = unit.start("exec sleep 1000")
    group = CGROUPS + unit.show("ControlGroup")
    types = unit.guest.run(f"find {group} -name cgroup.type -exec cat {{}} +").stdout.split("\n")
    assert set(filter(None, types)) == {"domain"}
    assert unit.value(job, "cgroup.type") == "domain"


def test_nothing_escapes_a_stop(unit: Agent) -> None:
    receipt = unit.stop_artists()
    assert (receipt["method"], receipt["proof"], receipt["survivors"]) == ("cgroup", "complete", [])


@pytest.mark.parametrize("how", ["restart", pytest.param("crash", marks=pytest.mark.slow)])
def test_jobs_outlive_the_unit(unit: Agent, how: str) -> None:
    """Same port, same processes, the limits hold, no byte is missing, and no job is in another service's cgroup."""
    counter = unit.start(COUNTER)
    limited = unit.start("exec sleep 1000", "-m 64MiB --pids 8 --cpus 0.5")
    pids = [unit.status(job)["pid"] for job in (limited, counter)]
    main = unit.show("MainPID")
    if how == "restart":
        unit.systemctl("restart jobworker.service")
    else:
        unit.guest.run(f"kill -KILL {main}; systemctl start jobworker.service", check=False)
    unit.wait_ready()
    assert unit.show("ActiveState") == "active"
    assert unit.show("MainPID") not in ("0", main)
    with socket.create_connection(("127.0.0.1", unit.guest.port), timeout=60):
        pass
    for job, pid in zip((limited, counter), pids, strict=True):
        status = unit.status(job)
        assert (status["state"], status["pid"]) == ("running", pid)
        services = re.findall(r"[^/]+\.service", unit.cgroup(pid))
        assert set(services) <= {"jobworker.service"}
    assert unit.value(limited, "memory.max") == str(64 << 20)
    assert unit.value(limited, "pids.max") == "8"
    assert unit.value(limited, "cpu.max").split()[0] == "50000"
    unit.jw(f"stop {limited} {counter}")
    numbers = [int(line) for line in unit.jw(f"logs {counter}").stdout.split()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 10
    assert unit.stop_artists()["proof"] == "complete"


@pytest.mark.slow
def test_a_unit_written_by_hand(guest: Guest, no_service: None) -> None:
    """Of Type=simple, with Delegate=yes and KillMode=process."""
    agent = Agent(guest, "/var/lib/byhand", unit="byhand.service")
    try:
        agent.install(unit_text(agent.home))
        assert agent.info()["capabilities"]["stop"] == "cgroup"
        agent.check_limits()
        job = agent.start("exec sleep 1000", "-m 64MiB")
        pid = agent.status(job)["pid"]
        agent.systemctl("restart byhand.service")
        agent.wait_ready()
        assert (agent.status(job)["state"], agent.status(job)["pid"]) == ("running", pid)
        assert agent.value(job, "memory.max") == str(64 << 20)
        assert agent.stop_artists()["proof"] == "complete"
    finally:
        agent.remove()
