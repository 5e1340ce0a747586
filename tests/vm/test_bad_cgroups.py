"""What operators, other programs and jobs do to the cgroups of jobs: the rest goes on, and nothing is hidden."""

import json
import re
import shlex
from pathlib import PurePosixPath

import pytest
from tests.vm.agents import CGROUPS, Agent
from tests.vm.guest import Guest

pytestmark = [pytest.mark.vm, pytest.mark.slow]
ALIVE = "pgrep -c -f '^sleep 99001$'"
DEAD = 500
# Of root, and it may write below its own cgroup as anywhere: that is not delegated to it, nor forbidden.
MAKER = """
own=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)
mkdir -p $own/made/deeper
sh -c 'echo 0 >'$own'/made/cgroup.procs; trap "" TERM; sleep 99001 & exec sleep 99001' &
sh -c 'echo 0 >'$own'/made/deeper/cgroup.procs; exec setsid sleep 99001' &
echo 0 >$own/made/cgroup.procs
exec sleep 99001
"""


def until(guest: Guest, condition: str) -> None:
    """Wait until a condition of bash holds."""
    loop = f"while [ $SECONDS -lt 100 ]; do {condition} && exit; sleep 0.2; done; exit 1"
    assert guest.run(loop, check=False, timeout=300).code == 0, condition


def group_of(unit: Agent, job: str) -> PurePosixPath:
    """Return the folder of a job's cgroup; that of all jobs is its parent."""
    group = PurePosixPath(unit.cgroup(unit.status(job)["pid"]))
    assert group.name == job
    return group


def check_stopped(unit: Agent, job: str) -> dict[str, object]:
    """Stop a job and return the receipt, which says what is true: no process of it lives."""
    unit.jw(f"stop --grace 500ms {job}")
    status = unit.status(job)
    assert status["state"] == "exited"
    assert unit.guest.run(ALIVE, check=False).stdout.strip() == "0", status
    receipt: dict[str, object] = status["exit"]["receipt"]
    assert receipt["survivors"] == []
    return receipt


def test_a_cgroup_that_is_removed_under_a_running_job(unit: Agent) -> None:
    """Others start; a stop still ends the job, and does not claim to have had its cgroup."""
    job, other = unit.start("exec sleep 99001"), unit.start("exec sleep 1000", "-m 64M")
    group, pid = group_of(unit, job), unit.status(job)["pid"]
    elsewhere = f"{CGROUPS}/elsewhere"
    unit.guest.run(f"mkdir -p {elsewhere} && echo {pid} >{elsewhere}/cgroup.procs && rmdir {group}")
    assert unit.jw("run -w / -- echo next").stdout == "next\n"
    assert unit.jw("stats", check=False).code == 0
    assert check_stopped(unit, job)["proof"] == "best_effort"
    assert unit.value(other, "memory.max") == str(64 * 10**6 // 4096 * 4096)
    unit.jw(f"rm -f {other}")


@pytest.mark.parametrize(
    "command", ["exec su - alice -c 'exec sleep 99001'", "su - alice -c 'sleep 99001; true'; true"]
)
def test_a_login_moves_a_job_into_the_cgroup_of_a_session(unit: Agent, command: str) -> None:
    job = unit.start(command)
    until(unit.guest, f"[ $({ALIVE}) = 1 ]")
    pid = unit.guest.run("pgrep -f '^sleep 99001$'").stdout.strip()
    assert "/session-" in unit.cgroup(int(pid))
    assert check_stopped(unit, job)["proof"] == "best_effort"


def test_a_cgroup_of_all_jobs_that_is_removed(unit: Agent) -> None:
    job = unit.start("exec sleep 1000")
    root = group_of(unit, job).parent
    unit.jw(f"rm -f {job}")
    until(unit.guest, f"rmdir {root}")
    assert unit.jw("run -w / -- echo on").stdout == "on\n"
    limited = unit.start("exec sleep 1000", "-m 64MiB")
    assert unit.value(limited, "memory.max") == str(64 << 20)
    assert group_of(unit, limited).parent == root


def test_a_controller_that_is_taken_away(unit: Agent) -> None:
    """A start that needs it fails with the file and the value; what runs, and what needs others, goes on."""
    limited = unit.start("exec sleep 1000", "-m 64M --pids 8")
    root = group_of(unit, limited).parent
    unit.guest.run(f"echo -memory >{root}/cgroup.subtree_control")
    failed = unit.jw("run -w / -m 32MiB -- true", check=False)
    assert failed.code == 125
    assert re.search(rf"write 1 to {root}/\w+/memory\.oom\.group: No such file", failed.stderr)
    assert unit.jw("run -w / --pids 9 -- echo on").stdout == "on\n"
    assert unit.value(limited, "pids.max") == "8"
    changed = unit.jw(f"update -m 32MiB {limited}", check=False)
    assert "memory" in changed.stderr
    assert unit.status(limited)["state"] == "running"
    unit.guest.run(f"echo +memory >{root}/cgroup.subtree_control")
    assert unit.jw("run -w / -m 32MiB -- echo again").stdout == "again\n"
    unit.jw(f"stop {limited}")


def test_a_job_that_makes_cgroups_of_its_own(unit: Agent) -> None:
    """A stop ends what is in them, and they are gone with the job's own."""
    job = unit.start(MAKER)
    until(unit.guest, f"[ $({ALIVE}) = 4 ]")
    group = next(path for path in map(PurePosixPath, unit.guest.run(f"find {CGROUPS} -name {job}").stdout.split()))
    receipt = check_stopped(unit, job)
    assert (receipt["method"], receipt["proof"]) == ("cgroup", "complete")
    until(unit.guest, f"[ ! -e {group} ]")


def test_dead_cgroups_of_a_predecessor(unit: Agent) -> None:
    """They delay no start, and are removed."""
    job = unit.start("exec sleep 1000", "-m 64M")
    root = group_of(unit, job).parent
    keeper = unit.guest.run("pgrep -f '[j]obworker/keeper/'").stdout.split()[0]
    unit.guest.run(f"cd {root}; mkdir $(seq -f dead%g {DEAD}); kill -KILL {keeper}")
    assert unit.jw("run -w / -- echo on").stdout == "on\n"
    until(unit.guest, f"[ $(ls {root} | grep -c ^dead) = 0 ]")
    assert unit.status(job)["state"] == "running"
    unit.jw(f"stop {job}")


def test_a_process_of_another_in_a_delegated_cgroup(guest: Guest) -> None:
    """It is moved to the leaf beside the keeper, or no controller could be enabled."""
    agent = Agent(guest, "/root/shared")
    script = f"export PATH=/opt/jobworker/bin:$PATH JOBWORKER_HOME={agent.home}; sleep 99001 & "
    script += "jw run -w / -m 64M -- echo limited; cat /proc/$!/cgroup; cat /proc/self/cgroup; kill $!"
    try:
        scope = "systemd-run --scope --quiet -p Delegate=yes --unit=shared"
        done = guest.run(f"{scope} bash -c {shlex.quote(script)}", timeout=300)
        hello, other, own = done.stdout.splitlines()
        assert hello == "limited"
        assert other.endswith("/shared.scope/agent.leaf")
        assert own == other
        assert json.loads(agent.jw("agent info --json").stdout)["capabilities"]["stop"] == "cgroup"
    finally:
        agent.remove()
