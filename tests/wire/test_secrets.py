"""Secrets of jobs: the job has them, and no one finds them anywhere else."""

import asyncio
import base64
import contextlib
import os
import pwd
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobworker.config import BUILT_IN
from jobworker.formats.secrets import FOLDER

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Gate, Wire

# As whom a writer runs jobs; an agent that is no root runs all as itself.
AS = {"user": "nobody"} if os.geteuid() == 0 else {}
FOR_WRITERS = '[users]\n"role:writer" = ["nobody"]' if AS else ""
VALUE = "pLanted-Secret-01"  # each test that plants one numbers it anew, so that none is found because of another


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a secret, a link out of it, and a file that is no text."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "db").write_text("of-a-file-77\n")
    (folder / "binary").write_bytes(b"\xff\xfe\x00secret")
    (folder / "out").symlink_to("/etc/passwd")
    (folder / "..data").mkdir()
    (folder / "..data" / "linked").write_text("of-a-link-78")
    (folder / "linked").symlink_to("..data/linked")
    return folder


@pytest.fixture(scope="module")
def shared(start_agent: "Callable[..., RunningAgent]", folder: Path) -> "RunningAgent":
    """An agent with all three providers, of which only some callers may use any."""
    enabled = [*BUILT_IN, "secrets"]
    os.environ["JW_TEST_OF_THE_AGENT"] = "of-the-agent-79"
    try:
        return start_agent(
            config=f"""{FOR_WRITERS}
[plugins]
enabled = {enabled}
[plugins.secrets]
folder = "{folder}"
env = ["JW_TEST_*"]
command = ["sh", "-c", "[ $0 != fails ] || exit 3; echo of-a-command-$0", "{{name}}"]
roles = ["admin"]
"""
        )
    finally:
        del os.environ["JW_TEST_OF_THE_AGENT"]


def run_folder(agent: "RunningAgent") -> Path:
    return agent.home.run_folder()


def files_folder(agent: "RunningAgent") -> Path:
    """Return the folder of the secrets that jobs read from files."""
    run = run_folder(agent)
    return run.with_name(f"{run.name}.files") if os.geteuid() == 0 else run / "files"


def found_in(agent: "RunningAgent", *values: str) -> list[str]:
    """Return the files of the agent, and the command lines, that have one of the values in any usual form."""
    forms = {form for value in values for form in (value.encode(), value.encode().hex().encode())}
    forms |= {base64.b64encode(value.encode())[:-4] for value in values}
    tops = (agent.home.path, run_folder(agent), files_folder(agent))
    places = [path for top in tops for path in top.rglob("*") if path.is_file()]
    places += Path("/proc").glob("[0-9]*/cmdline")
    found = []
    for path in places:
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if any(form in content for form in forms):
            found.append(str(path))
    return found


async def ended(wire: "Wire", job: str) -> "dict[str, Any]":
    """Return a job when nothing of it can change any more."""
    await wire.follow(await wire.subscribe(job))
    return dict(await wire.ask("job.wait", id=job))


async def test_the_job_has_it(shared: "RunningAgent", wire: "Wire", gate: "Callable[[], Gate]") -> None:
    """The job has the value; no answer, event, file or command line has it, while it runs and when it has ended."""
    go = gate()
    has = f"""test "$A" = {VALUE[:7]}"{VALUE[7:]}" && echo has"""  # cut, as its own command line may have no value
    shell = f"""{has}; echo "<$A>"; echo "$A" >&2; {go.wait}; printf %s "$A" | base64"""
    job = (await wire.ask("job.run", spec={"shell": shell, "secrets": {"A": VALUE}}))["job"]["id"]
    log = await wire.until(await wire.subscribe(job), b"<***>\n")
    assert log.stdout == b"has\n<***>\n"
    answers = [await wire.ask(method, id=job) for method in ("job.status", "job.explain", "log.read")]
    answers += [await wire.ask("job.list"), await wire.ask("job.stats", id=job, processes=True)]
    assert VALUE not in str(answers)
    assert found_in(shared, VALUE) == [str(run_folder(shared) / FOLDER / job)]
    assert (run_folder(shared) / FOLDER / job).stat().st_mode & 0o777 == 0o600
    go.open()
    assert (await ended(wire, job))["spec"]["secrets"] == {"A": "***"}
    assert (await wire.follow(await wire.subscribe(job, streams=["stderr"]))).text["stderr"] == b"***\n"
    assert found_in(shared, VALUE) == []


async def test_in_a_command_line(wire: "Wire", gate: "Callable[[], Gate]") -> None:
    """What the job itself puts on a command line is masked where the agent shows its processes."""
    go = gate()
    shell = f"""sh -c '{go.wait}; :' "$A" & wait; true"""
    job = (await wire.ask("job.run", spec={"shell": shell, "secrets": {"A": "on-a-Line-02"}}))["job"]["id"]
    commands = ""
    while "***" not in commands:
        commands = str((await wire.ask("job.stats", id=job, processes=True))["processes"])
        assert "on-a-Line-02" not in commands
    go.open()
    await ended(wire, job)


async def test_split_over_writes(wire: "Wire", gate: "Callable[[], Gate]") -> None:
    """A value that comes in two writes is masked; its beginning alone is shown in the end, or after a second."""
    go = gate()
    shell = f"printf 'a split-'; {go.wait}; printf 'Secret-03 b'; printf split-Sec; {go.wait}; printf ' split-S'"
    job = (await wire.ask("job.run", spec={"shell": shell, "secrets": {"A": "split-Secret-03"}}))["job"]["id"]
    subscription = await wire.subscribe(job)
    await wire.until(subscription, b"a ")
    go.open()
    assert (await wire.until(subscription, b"split-Sec")).stdout == b"a *** bsplit-Sec"
    go.open()
    assert (await wire.follow(subscription)).stdout == b"a *** bsplit-Sec split-S"


async def test_the_pump_dies(shared: "RunningAgent", wire: "Wire") -> None:
    """Over deaths of the pump every line comes in order, and none with the secret."""
    lines = 3000
    shell = f"""i=0; while [ $i -lt {lines} ]; do echo "$i $A ."; i=$((i+1)); done; test $i = {lines}"""
    job = (await wire.ask("job.run", spec={"shell": shell, "secrets": {"A": "over-Deaths-04"}}))["job"]["id"]
    subscription = await wire.subscribe(job)
    for number in (300, 900, 1800):
        await wire.until(subscription, b"\n%d " % number)
        if pump := (await wire.ask("agent.info"))["keeper"]["pump"]:
            with contextlib.suppress(ProcessLookupError):  # the one before; the agent does not know the next yet
                os.kill(pump, signal.SIGKILL)
    log = await wire.follow(subscription)
    assert b"over-Deaths" not in log.stdout
    # A kill between the write and the emptying of the pipe writes a piece twice; none is lost.
    assert list(dict.fromkeys(log.stdout.splitlines())) == [b"%d *** ." % number for number in range(lines)]


async def test_the_keeper_and_the_agent_die(
    start: "Callable[..., RunningAgent]", dial: "Dial", gate: "Callable[[], Gate]"
) -> None:
    """Secrets outlive them all: those of jobs that run, and of those that were only created."""
    agent, go = start(), gate()
    async with dial(agent) as wire:
        created = await wire.create(shell='test ${#A} = 17 && echo "$A"', secrets={"A": "created-Before-05"})
        running = (
            await wire.run(
                shell=f'{go.wait}; echo "$A"; cat "$F"',
                secrets={"A": "runs-On-06"},
                secret_files={"F": "runs-On-with-06\n"},
            )
        )["id"]
        ends = await wire.run(shell="exec sleep 1000", secret_files={"F": "ends-Meanwhile-06"})
        keeper = (await wire.ask("agent.info"))["keeper"]
    agent.kill()
    for role in ("pid", "pump"):
        os.kill(keeper[role], signal.SIGKILL)
    os.kill(ends["pid"], signal.SIGKILL)
    agent.start()
    async with dial(agent) as wire:
        go.open()
        assert (await wire.follow(await wire.subscribe(running))).stdout == b"***\n***"
        await ended(wire, ends["id"])
        await wire.ask("job.start", id=created)
        assert (await wire.follow(await wire.subscribe(created))).stdout == b"***\n"
        assert (await ended(wire, created))["exit"]["code"] == 0
        left = await wire.create(shell=":", secrets={"A": "never-Started-07"})
        assert found_in(agent, "never-Started-07")
        await wire.ask("job.delete", id=left)
        values = ("created-Before-05", "runs-On-06", "runs-On-with-06", "ends-Meanwhile-06", "never-Started-07")
        assert found_in(agent, *values) == []
        assert not files_folder(agent).exists()


async def test_secrets_that_are_gone(shared: "RunningAgent", wire: "Wire", gate: "Callable[[], Gate]") -> None:
    """A job whose secrets were removed does not start; of one that runs, the next pump writes nothing."""
    go = gate()
    job = await wire.create(shell=":", secrets={"A": "removed-Under-08"})
    (run_folder(shared) / FOLDER / job).unlink()
    refused = await wire.refused("job.start", id=job)
    assert (refused["code"], refused["data"]["hint"]) == (40901, "create the job again")
    job = (await wire.run(shell=f'{go.wait}; echo "$A"', secrets={"A": "removed-Under-09"}))["id"]
    (run_folder(shared) / FOLDER / job).unlink()
    os.kill((await wire.ask("agent.info"))["keeper"]["pump"], signal.SIGKILL)
    go.open()
    log = await wire.follow(await wire.subscribe(job))
    assert b"removed" not in log.stdout
    assert log.end is not None
    assert log.end["truncated"]


async def test_providers(wire: "Wire") -> None:
    """Files beneath the folder, some variables of the agent, the output of a command: found at the start."""
    secrets = {
        "A": {"provider": "file", "name": "db"},
        "B": {"provider": "file", "name": "linked"},
        "C": {"provider": "env", "name": "JW_TEST_OF_THE_AGENT"},
        "D": {"provider": "command", "name": "x/y"},
    }
    shell = 'printf "%s\\n" $A $B $C $D; echo ${#A} ${#B} ${#C} ${#D}'
    run = await wire.ask("job.run", spec={"shell": shell, "secrets": secrets})
    assert run["job"]["spec"]["secrets"] == secrets
    lengths = [len(value) for value in ("of-a-file-77", "of-a-link-78", "of-the-agent-79", "of-a-command-x/y")]
    assert (await wire.follow(run["subscription"])).stdout == b"***\n" * 4 + b"%d %d %d %d\n" % tuple(lengths)


@pytest.mark.parametrize(
    ("provider", "name", "said"),
    [
        ("file", "nope", "No such file"),
        ("file", "../db", "is no name of a secret"),
        ("file", "/etc/passwd", "is no name of a secret"),
        ("file", "out", "a link to a file outside"),
        ("file", "binary", "is not UTF-8"),
        ("env", "HOME", "no pattern"),
        ("env", "JW_TEST_NONE", "no such variable"),
        ("command", "fails", "ended with code 3"),
        ("command", "-x", "is no name of a secret"),
    ],
)
async def test_what_a_provider_does_not_have(wire: "Wire", provider: str, name: str, said: str) -> None:
    """The start is refused with the variable and the reason, and the job is still created."""
    job = await wire.create(shell=":", secrets={"A": {"provider": provider, "name": name}})
    refused = await wire.refused("job.start", id=job)
    assert refused["message"].startswith("secrets.A: ")
    assert said in refused["message"]
    assert (await wire.ask("job.status", id=job))["state"] == "created"


async def test_who_may_use_providers(shared: "RunningAgent", wire: "Wire", dial: "Dial") -> None:
    """With `roles`, callers of another role start jobs without the agent's secrets only."""
    token = (await wire.ask("token.create", name="w", roles=["writer"]))["token"]
    async with dial(shared, token=token) as writer:
        secrets = {"A": {"provider": "file", "name": "db"}}
        refused = await writer.refused("job.run", spec={"shell": ":", "secrets": secrets, **AS})
        assert "may not use secrets of file" in refused["message"]
        assert (await writer.ask("job.run", spec={"shell": ":", "secrets": {"A": "its-Own-10"}, **AS}))["job"]


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        ({"A": "abc"}, "secrets.A: a value of 3 bytes; expected 4 or more"),
        ({"A": ""}, "secrets.A: a value of 0 bytes"),
        ({"A": "with\0NUL-11"}, "secrets.A: a value that is no text"),
        ({"A=": "value-11"}, "secrets: the name 'A='"),
        ({"A": "x" * 16385}, "secrets: the values have 16385 bytes; expected at most 16384"),
        ({f"A{number}": "value-11" for number in range(65)}, "secrets: 65 secrets; expected at most 64"),
        ({"A": {"provider": "nope", "name": "value-11"}}, "secrets.A: no secret provider 'nope'"),
        ({"B": "value-11"}, "secrets.B: env has it as well"),
        ({"A": 1234567811}, "Expected str | object"),
        ({"A": {"value": "value-11"}}, "unknown"),
    ],
    ids=range(10),
)
async def test_what_is_refused(shared: "RunningAgent", wire: "Wire", secrets: "dict[str, Any]", said: str) -> None:
    """What cannot be a secret is refused, without a part of the value in the error, the audit log or the table."""
    refused = await wire.refused("job.create", spec={"shell": ":", "env": {"B": "x"}, "secrets": secrets})
    assert said in refused["message"].replace("\\", "")
    assert "value-11" not in str(refused) or "A=" in secrets
    assert "1234567811" not in str(refused)
    assert found_in(shared, "value-11", "1234567811", "with\0NUL-11") == []


async def test_part_of_another(wire: "Wire") -> None:
    """Two secrets of which one is in the other, and one with several lines."""
    secrets = {"A": "part-12", "B": "a-part-12-of-it", "C": "first line-12\nsecond line-12"}
    shell = 'echo "$A,$B,$A"; echo "$C"; echo "second line-12"'
    run = await wire.ask("job.run", spec={"shell": shell, "secrets": secrets})
    assert (await wire.follow(run["subscription"])).stdout == b"***,***,***\n***\n***\n"


async def test_a_terminal_and_merged_streams(wire: "Wire") -> None:
    """The output of a terminal, and of both streams as one, goes through the masker too."""
    for more in ({"tty": True}, {"log": {"merge": True}}, {"log": {"max_bytes": 65536}}):
        spec = {"shell": 'echo "<$A>"; echo "$A" >&2', "secrets": {"A": "on-A-terminal-13"}, **more}
        run = await wire.ask("job.run", spec=spec)
        log = await wire.follow(run["subscription"])
        assert (log.stdout + log.text["stderr"]).replace(b"\r", b"") == b"<***>\n***\n"


async def test_the_same_key(wire: "Wire") -> None:
    """A key means the same job, whose secrets are those of the first call."""
    spec = {"shell": 'test "$A" = first-Value-14', "secrets": {"A": "first-Value-14"}}
    job = (await wire.ask("job.create", spec=spec, key="k14"))["id"]
    again = await wire.ask("job.run", spec=spec | {"secrets": {"A": "second-Value-14"}}, key="k14")
    assert again["job"]["id"] == job
    assert (await asyncio.wait_for(wire.ask("job.wait", id=job), 60))["exit"]["code"] == 0


@pytest.mark.parametrize("user", [None, "nobody"] if AS else [None])
async def test_in_a_file(shared: "RunningAgent", wire: "Wire", user: str | None) -> None:
    """The variable has the path of a file in memory that the job's user alone can read, until the job has ended."""
    files = {"KEY": "line-A-16\nline-B-16\n", "TOKEN": {"provider": "file", "name": "db"}}
    shell = 'stat -c "%a %U %h" "$KEY" "$TOKEN"; wc -c < "$KEY"; cat "$KEY" "$TOKEN"; echo "at $KEY"; exec sleep 1000'
    job = await wire.run(shell=shell, secret_files=files, user=user)
    assert job["spec"]["secret_files"] == files | {"KEY": "***"}
    log = await wire.until(await wire.subscribe(job["id"]), b"/KEY\n")
    name = user or pwd.getpwuid(os.geteuid()).pw_name
    *_, last = log.stdout.split(b"at ")
    path = Path(os.fsdecode(last).strip())
    assert log.stdout.startswith(f"600 {name} 1\n600 {name} 1\n20\n***".encode())
    assert b"-16" not in log.stdout
    assert b"of-a-file" not in log.stdout
    assert path.read_text() == "line-A-16\nline-B-16\n"
    assert {*found_in(shared, "line-B-16")} == {str(path), str(run_folder(shared) / FOLDER / job["id"])}
    if AS:
        other = await wire.ask("job.run", spec={"argv": ["cat", str(path)], "user": "daemon"})
        assert (await wire.follow(other["subscription"])).text["stderr"].endswith(b"Permission denied\n")
        replace = {"argv": ["rm", str(path)], "user": user or "daemon"}
        other = await wire.ask("job.run", spec=replace)
        assert (await ended(wire, other["job"]["id"]))["exit"]["code"] == 1
    await wire.ask("job.stop", id=job["id"])
    await ended(wire, job["id"])
    assert not path.exists()
    assert found_in(shared, "line-A-16", "line-B-16", "of-a-file-77") == []


async def test_what_is_refused_of_files(shared: "RunningAgent", wire: "Wire") -> None:
    """A variable has one value; a folder that another user has made is not used."""
    spec: dict[str, Any] = {"shell": ":", "secret_files": {"A": "value-17"}}
    for more, said in (
        ({"env": {"A": "x"}}, "secret_files.A: env has it as well"),
        ({"secrets": {"A": "other-17"}}, "secret_files.A: secrets has it as well"),
        ({"secret_files": {"../A": "value-17"}}, "secrets: the name '../A'"),
        ({"secret_files": {"A": "x"}}, "secret_files.A: a value of 1 bytes"),
        ({"secret_files": {"A": {"provider": "nope", "name": "x"}}}, "secret_files.A: no secret provider"),
    ):
        assert said in (await wire.refused("job.create", spec=spec | more))["message"]
    folder = files_folder(shared)
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    try:
        refused = await wire.refused("job.run", spec=spec)
        assert (refused["code"], "belongs to another user" in refused["message"]) == (50101, True)
    finally:
        folder.rmdir()
    assert found_in(shared, "value-17", "other-17") == []
    if folder.is_relative_to("/dev/shm"):  # as on hosts whose /run is no tmpfs
        refused = await wire.refused("job.run", spec=spec | {"private_tmp": True})
        assert refused["code"] == 50101
