"""The agent as `jw agent install --systemd` makes it a service: systemd starts, watches, reloads and restarts it."""

import shlex
from collections.abc import Iterator

import pytest
from tests.vm.agents import SETTINGS, UNIT, Agent
from tests.vm.guest import Guest

pytestmark = pytest.mark.vm
HANG = 300  # seconds for WatchdogSec=60s, the end of the agent, and a start under emulation


@pytest.fixture
def of_alice(guest: Guest, no_service: None) -> Iterator[Agent]:
    """An agent of a plain user, run by the user's own service manager."""
    guest.run("loginctl enable-linger alice")
    guest.run("for _ in $(seq 300); do [ -S /run/user/1000/bus ] && exit; sleep 0.2; done; exit 1")
    home = "/home/alice/.local/state/jobworker"
    agent = Agent(guest, home, user="alice", unit=UNIT, of_user=True)
    guest.run(f"mkdir -p -m 700 {home} && chown -R alice /home/alice/.local", user="root")
    guest.write(f"{home}/config.toml", SETTINGS)
    guest.run(f"chown alice {home}/config.toml")
    bus = "export XDG_RUNTIME_DIR=/run/user/1000;"
    try:
        done = guest.run(f"{bus} jw agent install --systemd --user", user="alice", timeout=300)
        assert "loginctl enable-linger" in done.stderr
        yield agent
    finally:
        agent.remove()
        guest.run("loginctl disable-linger alice")


def start_job(agent: Agent) -> tuple[str, int]:
    job = agent.start("echo begun; exec sleep 1000")
    pid: int = agent.status(job)["pid"]
    return job, pid


def check_left(agent: Agent, job: str, pid: int) -> None:
    """The job runs as before, its output is there, and others can be started."""
    agent.wait_ready()
    status = agent.status(job)
    assert (status["state"], status["pid"]) == ("running", pid)
    assert agent.jw(f"logs {job}").stdout == "begun\n"
    assert agent.jw("run -w / -- echo again").stdout == "again\n"


def wait_for(agent: Agent, name: str, value: str, limit: int = HANG) -> None:
    """Wait until a property of the unit has a value."""
    condition = f'[ "$(systemctl show -p {name} --value {UNIT})" = {shlex.quote(value)} ]'
    loop = f"for _ in $(seq {limit}); do {condition} && exit; sleep 1; done; exit 1"
    done = agent.guest.run(loop, timeout=2 * limit)
    assert done.code == 0


def test_the_unit_is_ready_when_systemctl_returns(unit: Agent) -> None:
    assert unit.show("ActiveState") == "active"
    assert unit.show("Result") == "success"
    assert unit.show("StatusText").startswith("listening on wss://")
    assert unit.systemctl(f"is-enabled {UNIT}") == "enabled"
    assert unit.info()["pid"] == int(unit.show("MainPID"))


@pytest.mark.slow
def test_restart_reload_and_stop_leave_the_jobs(unit: Agent) -> None:
    job, pid = start_job(unit)
    main = unit.show("MainPID")
    unit.systemctl(f"reload {UNIT}")
    unit.jw("agent restart")
    wait_for(unit, "SubState", "running")
    assert unit.show("MainPID") == main
    unit.systemctl(f"restart {UNIT}")
    assert unit.show("MainPID") != main
    check_left(unit, job, pid)
    unit.systemctl(f"stop {UNIT}")
    refused = unit.jw("ps", check=False)
    assert refused.code == 6
    assert "is the service jobworker.service, which does not run" in refused.stderr
    unit.systemctl(f"start {UNIT}")
    check_left(unit, job, pid)
    assert unit.show("NRestarts") == "0"


@pytest.mark.slow
def test_a_call_during_a_restart_waits(unit: Agent) -> None:
    """It starts no agent beside the service, which could not come back then."""
    unit.guest.run(f"systemctl restart --no-block {UNIT}; jw ps; jw ps", timeout=300)
    unit.wait_ready()
    assert unit.info()["pid"] == int(unit.show("MainPID"))


def test_jobs_are_in_a_scope_beside_the_service(unit: Agent) -> None:
    """systemd can put the next main process into the service's cgroup, whatever is enabled for jobs."""
    job, pid = start_job(unit)
    assert ".scope/" in unit.cgroup(pid)
    assert unit.guest.run(f"cat /sys/fs/cgroup/system.slice/{UNIT}/cgroup.subtree_control").stdout.strip() == ""
    unit.jw(f"stop {job}")
    variables = unit.jw("run -w / -- env").stdout
    assert not {line.partition("=")[0] for line in variables.splitlines()} & {
        "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "SYSTEMD_EXEC_PID", "INVOCATION_ID", "JOURNAL_STREAM",
    }  # fmt: skip


@pytest.mark.slow
def test_a_hung_agent_is_restarted(unit: Agent) -> None:
    job, pid = start_job(unit)
    unit.guest.run(f"kill -STOP {unit.show('MainPID')}")
    wait_for(unit, "NRestarts", "1")
    wait_for(unit, "SubState", "running")
    check_left(unit, job, pid)


@pytest.mark.slow
def test_a_reboot(unit: Agent) -> None:
    job, _ = start_job(unit)
    created = unit.jw("create -w / -- echo later").stdout.strip()
    unit.guest.run("sync")
    unit.guest.reboot()
    unit.wait_ready()
    status = unit.status(job)
    # A keeper that is still there when the host signals all processes reports the truth.
    assert status["state"] == "lost" or status["exit"]["signal"] in ("SIGTERM", "SIGKILL"), status
    assert unit.status(created)["state"] == "created"
    assert unit.jw("run -w / -- echo again").stdout == "again\n"


@pytest.mark.slow
def test_uninstall_leaves_the_jobs(unit: Agent) -> None:
    job, pid = start_job(unit)
    unit.guest.run("jw agent uninstall --systemd", timeout=300)
    assert unit.guest.run(f"systemctl cat {UNIT}", check=False).code != 0
    assert unit.guest.run(f"kill -0 {pid}").code == 0
    assert job in unit.jw("ps -q").stdout.split()  # by the local agent, which is started as before
    unit.remove()  # it has the port


@pytest.mark.slow
def test_the_agent_of_a_user(of_alice: Agent) -> None:
    job, pid = start_job(of_alice)
    of_alice.systemctl(f"restart {UNIT}")
    check_left(of_alice, job, pid)
    assert "/user.slice/" in of_alice.cgroup(pid)
