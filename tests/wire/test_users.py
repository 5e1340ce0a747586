"""Jobs as users of the host: how such a job runs, who may create one, and what it cannot reach."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Wire

import ast
import sys

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
NOBODY = pwd.getpwnam("nobody")
DAEMON = pwd.getpwnam("daemon")

POLICY = """
[jobs]
user = "nobody"
[users]
"token:deploy" = ["daemon"]
"""


@pytest.fixture(scope="module")
def office(start_agent: "Callable[..., RunningAgent]") -> "RunningAgent":
    """An agent that runs jobs as the user `nobody`, and those of one principal also as `daemon`."""
    return start_agent(config=POLICY)


@pytest.fixture
async def boss(office: "RunningAgent", dial: "Dial") -> "AsyncIterator[Wire]":
    async with dial(office) as wire:
        yield wire


@pytest.fixture
async def deploy(office: "RunningAgent", dial: "Dial", boss: "Wire") -> "AsyncIterator[Wire]":
    token = (await boss.ask("token.create", name="deploy", roles=["writer"]))["token"]
    async with dial(office, token=token) as wire:
        yield wire
    await boss.ask("token.revoke", name="deploy")


@pytest.fixture
async def strict(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> "AsyncIterator[Wire]":
    """A writer on an agent without any policy."""
    token = (await wire.ask("token.create", name="strict", roles=["writer"]))["token"]
    async with dial(shared, token=token) as writer:
        yield writer
    await wire.ask("token.revoke", name="strict")


async def said(wire: "Wire", script: str, **spec: Any) -> str:
    """Return what a script writes to both streams."""
    run = await wire.ask("job.run", spec={"shell": f"exec 2>&1; {script}", **spec})
    return (await wire.follow(run["subscription"])).stdout.decode()


WHO = 'id -u; id -g; id -G; echo "$HOME $USER"; pwd'


def expected(user: pwd.struct_passwd, gid: int | None = None) -> list[str]:
    gid = user.pw_gid if gid is None else gid
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    folder = user.pw_dir if os.path.isdir(user.pw_dir) else "/"
    all_groups = " ".join(map(str, [gid, *(group for group in groups if group != gid)]))
    return [str(user.pw_uid), str(gid), all_groups, f"{user.pw_dir} {user.pw_name}", folder]


@root
@pytest.mark.parametrize("user", ["daemon", str(DAEMON.pw_uid), DAEMON.pw_uid])
async def test_by_name_and_number(wire: "Wire", user: str | int) -> None:
    """Ids, groups, HOME, USER and the folder are those of the user."""
    assert (await said(wire, WHO, user=user)).splitlines() == expected(DAEMON)


@root
async def test_a_group(wire: "Wire") -> None:
    """The group takes the place of the user's own, with or without a user."""
    gid = DAEMON.pw_gid
    assert (await said(wire, WHO, user="nobody", group="daemon")).splitlines() == expected(NOBODY, gid)
    assert (await said(wire, "id -u; id -g", group=gid)).split() == ["0", str(gid)]


async def test_oneself(wire: "Wire") -> None:
    """The agent's own user may always be named, and is the default for jobs that name no user."""
    me = pwd.getpwuid(os.geteuid())
    plain = await said(wire, WHO)
    assert plain == await said(wire, WHO, user=me.pw_name) == await said(wire, WHO, user=me.pw_uid)
    assert plain.splitlines()[0] == str(os.geteuid())


async def test_umask_nice_and_limits(wire: "Wire") -> None:
    """What is asked for is what the job has."""
    script = "umask; nice; ulimit -Sn; ulimit -Hn; ulimit -c"
    spec: dict[str, Any] = {"umask": "027", "nice": 7, "rlimits": {"nofile": {"soft": 50, "hard": 60}, "core": 0}}
    assert (await said(wire, script, **spec)).split() == ["0027", "7", "50", "60", "0"]
    assert (await said(wire, "umask", umask=0o077)).split() == ["0077"]
    if os.geteuid() == 0:
        assert (await said(wire, "nice", nice=-3)).split() == ["-3"]


@root
@pytest.mark.parametrize("pid_namespace", [False, True])
async def test_no_privileges(wire: "Wire", pid_namespace: bool) -> None:
    """Neither capabilities nor the means to get any."""
    found = await said(wire, "grep -E '^(Cap|NoNew)' /proc/self/status", user="nobody", pid_namespace=pid_namespace)
    facts = dict(line.split(":\t") for line in found.splitlines())
    assert facts.pop("NoNewPrivs") == "1"
    assert len(facts) == 5
    assert set(facts.values()) == {"0" * 16}


@root
async def test_a_folder_that_the_user_may_not_enter(wire: "Wire", tmp_path: Path) -> None:
    """42202, step `cwd`, and the message has the folder and the user."""
    tmp_path.chmod(0o700)
    error = await wire.refused("job.run", spec={"shell": ":", "user": "nobody", "cwd": str(tmp_path)})
    assert (error["code"], error["data"]["step"], error["data"]["errno"]) == (42202, "cwd", 13)
    assert str(tmp_path) in error["message"]
    assert "as nobody" in error["message"]


@root
async def test_what_the_agent_reports_of_itself(wire: "Wire", shared: "RunningAgent", office: "RunningAgent") -> None:
    """`capabilities.users`, and a warning at the start if jobs that name no user run as root."""
    assert (await wire.ask("agent.info"))["capabilities"]["users"] == "any"
    warning = "jobs without a user run as root"
    assert warning in shared.home.agent_log.read_text()
    assert warning not in office.home.agent_log.read_text()


# Who may


@root
async def test_without_a_policy_only_an_admin_runs_jobs(strict: "Wire") -> None:
    """On an agent that runs as root, a writer without an entry in `[users]` can run no job: 40301."""
    for spec in ({}, {"user": "root"}, {"user": 0}, {"user": "0"}, {"user": "nobody"}, {"group": "daemon"}):
        for method in ("job.create", "job.run"):
            error = await strict.refused(method, spec={"shell": ":", **spec})
            assert (error["code"], error["data"]["reason"]) == (40301, "permission_denied"), spec
            assert "strict may not run jobs as" in error["message"]
    assert (await strict.ask("job.list", owner="token:strict"))["jobs"] == []


@root
async def test_the_default_and_the_table(deploy: "Wire", boss: "Wire") -> None:
    """A job that names no user runs as `jobs.user`, also an admin's; the table decides who may name other users."""
    assert (await said(deploy, WHO)).splitlines() == expected(NOBODY)
    assert (await said(boss, WHO)).splitlines() == expected(NOBODY)
    assert (await said(deploy, "id -u", user="daemon")).split() == [str(DAEMON.pw_uid)]
    assert (await said(deploy, "id -u", user=NOBODY.pw_uid)).split() == [str(NOBODY.pw_uid)]
    assert (await said(boss, "id -u", user="root")).split() == ["0"]
    for spec in ({"user": "root"}, {"user": 0}, {"user": "www-data"}, {"user": "daemon", "group": "root"}):
        error = await deploy.refused("job.create", spec={"shell": ":", **spec})
        assert error["code"] == 40301, spec
    assert "daemon, nobody" in (await deploy.refused("job.create", spec={"shell": ":", "user": "root"}))["message"]


@root
@pytest.mark.parametrize(
    ("change", "field"),
    [({"nice": -1}, "nice"), ({"rlimits": {"nofile": "unlimited"}}, "rlimits.nofile")],
)
async def test_more_than_the_agent_has_is_for_admins(
    deploy: "Wire", boss: "Wire", change: dict[str, Any], field: str
) -> None:
    """A writer lowers its limits and its priority, and does not raise them above the agent's own."""
    error = await deploy.refused("job.create", spec={"shell": ":", **change})
    assert (error["code"], error["data"]["field"]) == (40001, field)
    job = await boss.ask("job.create", spec={"shell": ":", **change})
    await boss.ask("job.delete", id=job["id"])


@root
async def test_the_user_of_a_job_stays(home: Any, dial: "Dial") -> None:
    """A job's user is fixed when it is created; a caller that starts it later must be allowed that user."""
    from tests.conftest import RunningAgent

    agent = RunningAgent(home, POLICY)
    agent.start()
    try:
        async with dial(agent) as boss:
            token = (await boss.ask("token.create", name="deploy", roles=["writer"]))["token"]
            async with dial(agent, token=token) as deploy:
                jobs = [await deploy.create(shell="exec id -u", user=user) for user in (None, "daemon")]
        agent.end()
        agent.config = ""
        agent.start()
        async with dial(agent) as boss, dial(agent, token=token) as deploy:
            for job, uid in zip(jobs, (NOBODY.pw_uid, DAEMON.pw_uid), strict=True):
                assert (await deploy.refused("job.start", id=job))["code"] == 40301
                assert (await boss.ask("job.status", id=job))["state"] == "created"
                await boss.ask("job.start", id=job)
                assert (await boss.follow(await boss.subscribe(job))).stdout == f"{uid}\n".encode()
    finally:
        await agent.clean()


# What it cannot reach


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder that all users can enter."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def rooted(outside: Path) -> Path:
    """The program `id` with the setuid bit: outside of a job it runs as root."""
    program = outside / "id"
    shutil.copy("/usr/bin/id", program)
    program.chmod(0o4755)
    done = subprocess.run([program, "-u"], user="nobody", cwd="/", capture_output=True, check=True)
    if done.stdout != b"0\n":
        pytest.skip("no set-user-id programs work here")
    return program


@root
async def test_set_user_id_gives_nothing(wire: "Wire", rooted: Path) -> None:
    """A program that would make its user root does not."""
    assert await said(wire, f"{rooted} -u; {rooted} -ru", user="nobody") == f"{NOBODY.pw_uid}\n" * 2


# The end


@root
@pytest.mark.parametrize("pid_namespace", [False, True])
async def test_it_is_stopped_like_any_other(wire: "Wire", pid_namespace: bool) -> None:
    """Its whole tree is gone, ignored signals and sessions of their own notwithstanding."""
    shell = "trap '' TERM; (setsid sleep 600 &); echo up; sleep 600 & wait; wait; sleep 600"
    run = await wire.ask("job.run", spec={"shell": shell, "user": "nobody", "pid_namespace": pid_namespace})
    await wire.until(run["subscription"], b"up\n")
    job = await wire.ask("job.stop", id=run["job"]["id"], stop={"grace": 0.2})
    assert (job["exit"]["signal"], job["exit"]["reason"]) == ("SIGKILL", "stopped")
    assert job["exit"]["receipt"]["survivors"] == []


@root
async def test_the_command_of_a_stop_runs_as_the_user(wire: "Wire", outside: Path) -> None:
    """A stop by a command gets no more than the job has: user, groups, capabilities, folder, variables."""
    os.chown(outside, DAEMON.pw_uid, DAEMON.pw_gid)
    note = "{ id -u; id -g; id -G; pwd; echo $HOME $MINE; grep -cE 'Cap...:.0+$' /proc/self/status; } > $PWD/said"
    more = "; grep NoNewPrivs /proc/self/status >> said; kill $JOBWORKER_STOP_PID"
    stop = {"strategy": "command", "options": {"argv": ["sh", "-c", note + more], "timeout": "10s"}}
    spec = {"argv": ["sleep", "600"], "user": "daemon", "cwd": str(outside), "env": {"MINE": "x"}, "stop": stop}
    job = await wire.run(**spec)
    exit_ = (await wire.ask("job.stop", id=job["id"]))["exit"]
    assert (exit_["signal"], exit_["reason"]) == ("SIGTERM", "stopped"), exit_
    *ids, folder, variables, without, privileges = (outside / "said").read_text().splitlines()
    assert ids == expected(DAEMON)[:3]
    assert (folder, variables, without) == (str(outside), f"{DAEMON.pw_dir} x", "5")
    assert privileges.split() == ["NoNewPrivs:", "1"]


@root
@pytest.mark.parametrize(("argv", "why"), [(["/no/such"], "No such file"), (["/etc/passwd"], "Permission denied")])
async def test_a_command_that_cannot_be_executed(
    wire: "Wire", shared: "RunningAgent", argv: list[str], why: str
) -> None:
    """The ladder follows at once, and the agent logs the reason."""
    stop = {"strategy": "command", "options": {"argv": argv, "timeout": "1h"}}
    job = await wire.run(argv=["sleep", "600"], user="nobody", stop=stop)
    assert (await wire.ask("job.stop", id=job["id"]))["exit"]["signal"] == "SIGINT"
    said = [line for line in shared.home.agent_log.read_text().splitlines() if f"job {job['id']}" in line]
    assert any("cannot be executed" in line and why in line for line in said), said


@root
async def test_the_options_of_a_stop_are_the_users(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """A caller that may not use a job's user can stop the job, but not with a command or other options of its own."""
    agent = start_agent(config='[users]\n"role:operator" = ["nobody"]\n')
    async with dial(agent) as boss:
        token = (await boss.ask("token.create", name="op", roles=["operator"]))["token"]
        theirs = (await boss.run(argv=["sleep", "600"]))["id"]
        options = {"argv": ["true"], "timeout": 1}
        async with dial(agent, token=token) as operator:
            error = await operator.refused("job.stop", id=theirs, stop={"strategy": "command", "options": options})
            assert error["code"] == 40301
            assert (await boss.ask("job.status", id=theirs))["state"] == "running"
            assert (await operator.ask("job.stop", id=theirs, stop={"strategy": "kill"}))["state"] == "exited"
            own = (await operator.run(argv=["sleep", "600"], user="nobody"))["id"]
            stop = {"strategy": "command", "options": options}
            assert (await operator.ask("job.stop", id=own, stop=stop))["exit"]["signal"] == "SIGINT"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_agent_that_the_host_does_not_know() -> None:
    """An agent whose uid has no entry, as in some containers, is a user all the same."""
    become = "os.setgroups([]); os.setgid(4242424); os.setuid(4242424)"
    imports = "import os; from dataclasses import astuple; from jobworker.jobs.identity import own"
    command = [sys.executable, "-c", f"{imports}; {become}; print(astuple(own()))"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert ast.literal_eval(said) == ("4242424", 4_242_424, 4_242_424, [], "/", "/")


@root
async def test_a_number_that_is_no_user_of_the_host(wire: "Wire", boss: "Wire", deploy: "Wire") -> None:
    """As in containers: it runs in no group of any user, or in the one that is named; others need [users]."""
    assert (await said(wire, WHO, user="12345")).split("\n")[:5] == ["12345", "65534", "65534", "/ 12345", "/"]
    assert (await said(wire, "id -g", user=12345, group=54321)).strip() == "54321"
    assert (await said(wire, "id -G", group=54321)).split()[0] == "54321"
    for wrong in ("4294967295", "99999999999", "12345x"):
        error = await wire.refused("job.create", spec={"argv": ["true"], "user": wrong})
        assert "expected a user of this host, by name or number" in error["message"]
    assert (await deploy.refused("job.create", spec={"argv": ["true"], "user": "12345"}))["code"] == 40301


@root
async def test_ignored_signals_of_a_job(wire: "Wire") -> None:
    """None, not those of the C library either, which ignores them in what it spawns."""
    assert int((await said(wire, "grep SigIgn /proc/self/status", nice=1)).split()[1], 16) == 0
