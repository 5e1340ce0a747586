"""The agent as `jw agent install --systemd` makes it a service: systemd starts, watches, reloads and restarts it."""

import shlex
from collections.abc import Iterator

import pytest
from tests.vm.agents import CONFIG, Agent
from tests.vm.guest import Guest

pytestmark = pytest.mark.vm
UNIT = "jobworker.service"
ETC = "/etc/jobworker/config.toml"
# Nothing of the agent's decides what becomes of the jobs: a service leaves them without being told to.
SETTINGS = CONFIG.partition("[agent]")[0]
HANG = 300  # seconds for WatchdogSec=60s, the end of the agent, and a start under emulation


@pytest.fixture
def installed(guest: Guest) -> Iterator[Agent]:
    """The agent of the host as the documentation installs it."""
    agent = Agent(guest, "/var/lib/jobworker", unit=UNIT)
    guest.write(ETC, SETTINGS)
    done = guest.run(f"jw agent install --systemd --config {ETC}", timeout=300)
    assert done.stdout == f"/etc/systemd/system/{UNIT}\n"
    assert "enabled jobworker.service: it starts when the host boots" in done.stderr
    yield agent
    agent.remove()


@pytest.fixture
def of_alice(guest: Guest) -> Iterator[Agent]:
    """An agent of a plain user, run by the user's own service manager."""
    guest.run("loginctl enable-linger alice")
    guest.run("for _ in $(seq 300); do [ -S /run/user/1000/bus ] && exit; sleep 0.2; done; exit 1")
    home = "/home/alice/.local/state/jobworker"
    agent = Agent(guest, home, user="alice", unit=UNIT, of_user=True)
    guest.run(f"mkdir -p -m 700 {home} && chown -R alice /home/alice/.local", user="root")
    guest.write(f"{home}/config.toml", SETTINGS)
    guest.run(f"chown alice {home}/config.toml")
    bus = "export XDG_RUNTIME_DIR=/run/user/1000;"
    done = guest.run(f"{bus} jw agent install --systemd --user", user="alice", timeout=300)
    assert "loginctl enable-linger" in done.stderr
    yield agent
    agent.remove()
    guest.run("loginctl disable-linger alice")


def start_job(agent: Agent) -> tuple[str, int]:
    job = agent.start("echo begun; exec sleep 99001")
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


def test_the_unit_is_ready_when_systemctl_returns(installed: Agent) -> None:
    assert installed.show("ActiveState") == "active"
    assert installed.show("Result") == "success"
    assert installed.show("StatusText").startswith("listening on wss://")
    assert installed.systemctl(f"is-enabled {UNIT}") == "enabled"
    assert installed.info()["pid"] == int(installed.show("MainPID"))


def test_restart_reload_and_stop_leave_the_jobs(installed: Agent) -> None:
    job, pid = start_job(installed)
    main = installed.show("MainPID")
    installed.systemctl(f"reload {UNIT}")
    installed.jw("agent restart")
    wait_for(installed, "SubState", "running")
    assert installed.show("MainPID") == main
    installed.systemctl(f"restart {UNIT}")
    assert installed.show("MainPID") != main
    check_left(installed, job, pid)
    installed.systemctl(f"stop {UNIT}")
    refused = installed.jw("ps", check=False)
    assert refused.code == 6
    assert "is the service jobworker.service, which does not run" in refused.stderr
    installed.systemctl(f"start {UNIT}")
    check_left(installed, job, pid)
    assert installed.show("NRestarts") == "0"


def test_a_call_during_a_restart_waits(installed: Agent) -> None:
    """It starts no agent beside the service, which could not come back then."""
    installed.guest.run(f"systemctl restart --no-block {UNIT}; jw ps; jw ps", timeout=300)
    installed.wait_ready()
    assert installed.info()["pid"] == int(installed.show("MainPID"))


def test_jobs_are_in_a_scope_beside_the_service(installed: Agent) -> None:
    """systemd can put the next main process into the service's cgroup, whatever is enabled for jobs."""
    job, pid = start_job(installed)
    assert ".scope/" in installed.cgroup(pid)
    assert installed.guest.run(f"cat /sys/fs/cgroup/system.slice/{UNIT}/cgroup.subtree_control").stdout.strip() == ""
    installed.jw(f"stop {job}")
    variables = installed.jw("run -w / -- env").stdout
    assert not {line.partition("=")[0] for line in variables.splitlines()} & {
        "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "SYSTEMD_EXEC_PID", "INVOCATION_ID", "JOURNAL_STREAM",
    }  # fmt: skip


@pytest.mark.slow
def test_a_hung_agent_is_restarted(installed: Agent) -> None:
    job, pid = start_job(installed)
    installed.guest.run(f"kill -STOP {installed.show('MainPID')}")
    wait_for(installed, "NRestarts", "1")
    wait_for(installed, "SubState", "running")
    check_left(installed, job, pid)


@pytest.mark.slow
def test_a_reboot(installed: Agent) -> None:
    job, _ = start_job(installed)
    created = installed.jw("create -w / -- echo later").stdout.strip()
    installed.guest.run("sync")
    installed.guest.reboot()
    installed.wait_ready()
    status = installed.status(job)
    # A keeper that is still there when the host signals all processes reports the truth.
    assert status["state"] == "lost" or status["exit"]["signal"] in ("SIGTERM", "SIGKILL"), status
    assert installed.status(created)["state"] == "created"
    assert installed.jw("run -w / -- echo again").stdout == "again\n"


def test_uninstall_leaves_the_jobs(installed: Agent) -> None:
    _, pid = start_job(installed)
    installed.guest.run("jw agent uninstall --systemd", timeout=300)
    assert installed.guest.run(f"systemctl cat {UNIT}", check=False).code != 0
    assert installed.guest.run(f"kill -0 {pid}").code == 0
    assert installed.jw("ps -q").stdout.count("\n") == 1  # by the local agent, which is started as before


def test_the_agent_of_a_user(of_alice: Agent) -> None:
    job, pid = start_job(of_alice)
    of_alice.systemctl(f"restart {UNIT}")
    check_left(of_alice, job, pid)
    assert "/user.slice/" in of_alice.cgroup(pid)
