"""A plain user to whom a cgroup is delegated has what root has: cgroups, complete stops and limits."""

import json
from collections.abc import Iterator

import pytest
from tests.vm.agents import LIMITS, Agent, unit_text
from tests.vm.guest import Guest

pytestmark = [pytest.mark.vm, pytest.mark.slow]
HOME = "/home/alice/jw"


@pytest.fixture
def lingering(guest: Guest) -> Iterator[None]:
    """Let alice's service manager run, whether she is logged in or not."""
    guest.run("loginctl enable-linger alice")
    guest.run("for _ in $(seq 300); do [ -S /run/user/1000/bus ] && exit; sleep 0.2; done; exit 1")
    yield
    guest.run("loginctl disable-linger alice")


@pytest.fixture
def users_unit(guest: Guest, lingering: None, no_service: None) -> Iterator[Agent]:
    """An agent as a unit of alice's own service manager."""
    agent = Agent(guest, HOME, user="alice", unit="jobworker.service", of_user=True)
    agent.install(unit_text(HOME, wanted_by="default.target"))
    yield agent
    agent.remove()


@pytest.fixture
def system_unit(guest: Guest, no_service: None) -> Iterator[Agent]:
    """An agent as a unit of the system with User=alice."""
    agent = Agent(guest, HOME, user="alice", unit="byalice.service")
    agent.install(unit_text(HOME, service="User=alice"))
    yield agent
    agent.remove()


def check(agent: Agent) -> None:
    capabilities = agent.info()["capabilities"]
    assert capabilities["stop"] == "cgroup"
    assert set(capabilities["limits"]) >= LIMITS
    agent.check_limits()
    receipt = agent.stop_artists()
    assert (receipt["method"], receipt["proof"], receipt["survivors"]) == ("cgroup", "complete", [])


def test_scope(guest: Guest, lingering: None) -> None:
    agent = Agent(guest, HOME, user="alice")
    try:
        scope = "systemd-run --user --scope --quiet -p Delegate=yes -p TasksMax=infinity"
        assert agent.jw("run -w / -- echo hello", under=scope).stdout == "hello\n"
        check(agent)
    finally:
        agent.remove()


def test_unit(users_unit: Agent) -> None:
    check(users_unit)
    job = users_unit.start("exec sleep 1000", "-m 64MiB")
    pid = users_unit.status(job)["pid"]
    users_unit.systemctl("restart jobworker.service")
    users_unit.wait_ready()
    status = users_unit.status(job)
    assert (status["state"], status["pid"]) == ("running", pid)
    assert users_unit.value(job, "memory.max") == str(64 << 20)
    assert users_unit.jw("run -w / -- echo again").stdout == "again\n"


def test_unit_of_the_system(system_unit: Agent) -> None:
    """It has cgroups; limits only from systemd 254 on, for alice cannot have a scope beside the unit made."""
    capabilities = system_unit.info()["capabilities"]
    assert capabilities["stop"] == "cgroup"
    assert capabilities["limits"] or "DelegateSubgroup" in json.dumps(capabilities["missing"])
    assert system_unit.stop_artists()["proof"] == "complete"
    job = system_unit.start("exec sleep 1000")
    pid = system_unit.status(job)["pid"]
    system_unit.systemctl("restart byalice.service")
    system_unit.wait_ready()
    assert (system_unit.status(job)["state"], system_unit.status(job)["pid"]) == ("running", pid)
    assert system_unit.jw("run -w / -- echo again").stdout == "again\n"
