"""Commands by the client library as by asyncio.subprocess and subprocess.run, over lost connections too."""

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import fields
from tests.support.waiting import DEADLINE

from jobworker.client import Client, Completed, Process
from jobworker.client.blocking import Client as BlockingClient
from jobworker.client.blocking import connect
from jobworker.client.commands import Options
from jobworker.client.completed import returncode_of
from jobworker.client.local import local_endpoint
from jobworker.errors import CommandFailed, CommandTimeout, ExecFailed, JobLost, StdinClosed
from jobworker.model import Exit, Job, JobSpec, LogSpec, Reason, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import RunningAgent
    from tests.support.wire import Gate

TREE = "setsid sleep 600 & echo started; exec sleep 600"


@pytest.fixture
async def client(shared: "RunningAgent") -> AsyncIterator[Client]:
    """A client that leaves no task and no running job; other tests may have some at this agent."""
    before = len(asyncio.all_tasks())
    async with shared.client() as connected:
        others = {job.id for job in await connected.list(["running", "created"])}
        yield connected
        running = {job.id for job in await connected.list(["running", "created"])}
    assert running <= others
    assert len(asyncio.all_tasks()) == before


async def test_a_process(client: Client) -> None:
    proc = await client.spawn(
        "sh", "-c", r"printf 'a\nb\nc'; echo oops >&2; read -r x; printf d; exit 3", stdin="pipe"
    )
    assert proc.pid
    assert proc.returncode is None
    assert [await proc.stdout.readline() for _ in range(2)] == [b"a\n", b"b\n"]
    assert await proc.stdout.read(1) == b"c"
    for steps in range(30):  # a read that is cancelled loses nothing, at whatever step it subscribes again
        read = asyncio.ensure_future(proc.stdout.readline())
        for _ in range(steps):
            await asyncio.sleep(0)
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read
    assert proc.stdin
    await proc.stdin.write(b"go\n")
    assert await proc.stdout.read() == b"d"
    assert proc.stdout.at_eof()
    assert [line async for line in proc.stderr] == [b"oops\n"]
    assert await proc.wait() == 3
    assert (proc.job.state, proc.job.pid) == (State.EXITED, proc.pid)
    await proc.stdin.write(b"late\n")
    with pytest.raises(StdinClosed):
        await proc.stdin.flush()
    await proc.terminate()  # of one that has ended: nothing
    assert await (await client.spawn("cat", stdin="pipe")).communicate(b"x" * 3_000_000) == (b"x" * 3_000_000, b"")
    many = await client.spawn_shell("seq 1 100000")
    assert [await many.stdout.read(3), await many.stdout.readline(), await many.stdout.read(0)] == [
        b"1\n2",
        b"\n",
        b"",
    ]
    assert len([line async for line in many.stdout]) == 99_998


async def test_signals(client: Client) -> None:
    """The return code is negative; a stop is for the whole tree, and the tree is gone when it returns."""
    for end, code in (("terminate", -15), ("kill", -9)):
        proc = await client.spawn_shell(TREE)
        assert await proc.stdout.readline() == b"started\n"
        await getattr(proc, end)()
        assert (proc.returncode, await proc.wait()) == (code, code)
        assert proc.job.exit
        assert proc.job.exit.receipt
        assert proc.job.exit.receipt.survivors == []
    proc = await client.spawn("sleep", "600")
    await proc.send_signal(10)
    assert await proc.wait() == -10
    async with await client.spawn("sleep", "600") as left:
        pass
    assert left.returncode == -9


async def test_run_and_wait(client: Client) -> None:
    done = await client.run_and_wait(["sh", "-c", "cat; echo b >&2"], input=b"a", capture=True, check=True)
    assert (done.returncode, done.stdout, done.stderr, done.complete) == (0, b"a", b"b\n", True)
    quiet = await client.run_and_wait("echo a; exit 5", shell=True)
    assert (quiet.returncode, quiet.stdout, quiet.args) == (5, None, ["echo a; exit 5"])
    with pytest.raises(CommandFailed, match=r"\['sh', '-c', 'echo a; kill -9 \$\$'\] ended with signal 9") as failed:
        await client.run_and_wait(["sh", "-c", "echo a; kill -9 $$"], capture=True, check=True)
    completed: Completed = failed.value.completed
    assert (completed.returncode, completed.stdout) == (-9, b"a\n")
    with pytest.raises(CommandTimeout) as late:
        await client.run_and_wait(TREE, shell=True, capture=True, timeout="300ms")
    assert late.value.completed.stdout == b"started\n"
    assert late.value.completed.job.exit.receipt.survivors == []
    with pytest.raises(ExecFailed):
        await client.run_and_wait(["/no/such/program"])
    assert (await client.run_and_wait(["true"], input=b"x" * 1_000_000)).returncode == 0, "it read nothing"
    cut = await client.run_and_wait("seq 1 100000", shell=True, capture=True, log=LogSpec(max_bytes="64KiB"))
    assert cut.complete is (cut.stdout is not None and len(cut.stdout) == 588_895)


async def test_cancelled_at_any_time(client: Client) -> None:
    """No job, no task and no subscription is left, which the fixture holds."""
    for steps in (0, 1, 2, 3, 5, 8, 13, 21, 34, 55):
        for call in (client.spawn("sleep", "600"), client.run_and_wait(["sleep", "600"], capture=True)):
            task = asyncio.ensure_future(call)
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(outcome, Process):  # it was done before
                await outcome.kill()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await client.run_and_wait(TREE, shell=True, capture=True)


async def test_an_agent_that_is_killed(agent: "RunningAgent", gate: "Callable[[], Gate]") -> None:
    """Amid the lines, amid the wait, and under the start: the next byte follows, the job runs once."""
    lines = 30_000
    go_on = gate()
    script = f"seq 1 {lines}; {go_on.wait}; seq {lines + 1} {2 * lines}; {go_on.wait}; exit 7"
    async with Client(lambda: local_endpoint(agent.home)) as client:
        proc = await client.spawn_shell(script)
        read = [await proc.stdout.readline() for _ in range(100)]
        agent.kill()
        agent.start()
        read += [await proc.stdout.readline() for _ in range(lines - 100)]
        waiting = asyncio.create_task(proc.wait())
        go_on.open()
        read += [await proc.stdout.readline() for _ in range(lines)]
        assert read == [b"%d\n" % number for number in range(1, 2 * lines + 1)]
        agent.kill()
        starting = asyncio.create_task(client.run_and_wait(["echo", "once"], capture=True, name="once"))
        await asyncio.sleep(0)
        agent.start()
        assert (await starting).stdout == b"once\n"
        assert [job.name for job in await client.list(["exited"])] == ["once"]
        go_on.open()
        assert await waiting == 7
    with BlockingClient(lambda: local_endpoint(agent.home)) as blocking:
        process = blocking.spawn_shell(f"seq 1 {lines}; {go_on.wait}; seq {lines + 1} {2 * lines}")
        taken = [process.stdout.readline() for _ in range(100)]
        agent.kill()
        agent.start()
        go_on.open()
        taken += list(process.stdout)
        assert taken == read
        assert process.wait() == 0


def test_without_asyncio(shared: "RunningAgent") -> None:
    with connect(shared.address, token=shared.token, ca=shared.ca) as client:
        others = {job.id for job in client.list(["running"])}
        with client.spawn("sh", "-c", "read -r x; echo $x; echo oops >&2; exec sleep 600", stdin="pipe") as proc:
            assert proc.stdin
            proc.stdin.write(b"hello\n")
            assert (proc.stdout.readline(), proc.stderr.readline()) == (b"hello\n", b"oops\n")
        assert proc.returncode == -9
        assert client.spawn("cat", stdin="pipe").communicate(b"a" * 3_000_000) == (b"a" * 3_000_000, b"")
        done = client.run_and_wait(["sh", "-c", "cat; exit 4"], input=b"a", capture=True)
        assert (done.returncode, done.stdout, done.stderr) == (4, b"a", b"")
        with pytest.raises(CommandFailed, match="exit code 4"):
            done.check_returncode()
        with pytest.raises(CommandTimeout):
            client.run_and_wait(["sleep", "600"], timeout=0.2)
        assert {job.id for job in client.list(["running"])} <= others


def test_interrupted_without_asyncio(shared: "RunningAgent") -> None:
    """Ctrl-C ends the job's tree, and then the script."""
    script = """
    import os, signal, sys, threading
    from jobworker.client import connect_blocking
    with connect_blocking(sys.argv[1], token=sys.argv[2], ca=sys.argv[3]) as client:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            client.run_and_wait(["sleep", "600"], capture=True, name="interrupted")
        except KeyboardInterrupt:
            print([(job.state.value, job.exit.signal) for job in client.list() if job.name == "interrupted"])
    """
    command = [sys.executable, "-c", textwrap.dedent(script), shared.address, shared.token, str(shared.ca)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert done.stdout == "[('exited', 'SIGKILL')]\n", done.stderr


def test_without_what_only_the_agent_needs(shared: "RunningAgent") -> None:
    script = """
    import asyncio, sys
    for name in ("typer", "click", "rich", "pluggy", "jsonrpcserver", "uvloop", "tomlkit"):
        sys.modules[name] = None  # to import it fails
    from jobworker.client import connect, connect_blocking
    async def main():
        async with connect(sys.argv[1], token=sys.argv[2], ca=sys.argv[3]) as client:
            return await client.run_and_wait(["echo", "a"], capture=True)
    print(asyncio.run(main()).stdout)
    with connect_blocking(sys.argv[1], token=sys.argv[2], ca=sys.argv[3]) as client:
        print(client.spawn("echo", "b").communicate())
    """
    command = [sys.executable, "-c", textwrap.dedent(script), shared.address, shared.token, str(shared.ca)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert done.stdout == "b'a\\n'\n(b'b\\n', b'')\n", done.stderr


def test_what_is_unknown_is_no_return_code() -> None:
    job = Job(id="a", name=None, state=State.LOST, owner="x", created_at="", spec=JobSpec(argv=["a"]))
    lost = Exit(None, None, Reason.LOST, message="the keeper died")
    for case in (job, Job(**{name: getattr(job, name) for name in Job.__struct_fields__} | {"exit": lost})):
        with pytest.raises(JobLost):
            returncode_of(case)


def test_the_options_are_the_fields_of_a_spec() -> None:
    assert Options.__annotations__.keys() == {field.name for field in fields(JobSpec)} - {"argv", "shell"}
