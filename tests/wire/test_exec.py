"""A start succeeds when execve does; otherwise the error has the step and the errno."""

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.wire import Wire

pytestmark = pytest.mark.usefixtures("unharmed")


async def check_failure(wire: "Wire", job: str, error: dict[str, Any], number: int, step: str) -> None:
    assert (error["code"], error["data"]["reason"]) == (42202, "exec_failed")
    assert error["data"]["job"] == job
    assert (error["data"]["errno"], error["data"]["step"]) == (number, step)
    told = await wire.ask("job.status", id=job)
    assert (told["state"], told["pid"]) == ("exited", None)
    assert (told["exit"]["code"], told["exit"]["signal"], told["exit"]["reason"]) == (None, None, "start_failed")
    assert told["exit"]["message"] == error["message"]
    assert (await wire.ask("job.wait", id=job))["exit"] == told["exit"]
    assert (await wire.refused("job.start", id=job))["code"] == 40901


@pytest.mark.parametrize(
    ("spec", "number", "step"),
    [
        ({"argv": ["/no/such/program"]}, errno.ENOENT, "exec"),
        ({"argv": ["no-such-program"]}, errno.ENOENT, "exec"),
        ({"argv": ["true"], "env": {"PATH": "/nowhere"}}, errno.ENOENT, "exec"),
        ({"argv": ["/"]}, errno.EACCES, "exec"),
        ({"argv": ["/etc/hostname/x"]}, errno.ENOTDIR, "exec"),
        ({"argv": ["true"], "cwd": "/no/such/folder"}, errno.ENOENT, "cwd"),
        ({"argv": ["true"], "cwd": "/etc/hostname"}, errno.ENOTDIR, "cwd"),
        ({"argv": ["printf", "x" * 900_000]}, errno.E2BIG, "exec"),
    ],
    ids=lambda it: str(it)[:50],
)
async def test_a_program_that_cannot_be_executed(wire: "Wire", spec: dict[str, Any], number: int, step: str) -> None:
    """42202 with data.job, errno and step; the job is exited, reason start_failed."""
    job = await wire.create(**spec)
    await check_failure(wire, job, await wire.refused("job.start", id=job), number, step)


async def test_a_run_that_cannot_be_executed(wire: "Wire") -> None:
    """`job.run` answers the same, and leaves no subscription."""
    error = await wire.refused("job.run", spec={"argv": ["/no/such/program"]})
    await check_failure(wire, error["data"]["job"], error, errno.ENOENT, "exec")
    assert (await wire.refused("log.unsubscribe", subscription="s1"))["code"] == 40402
    log = await wire.follow(await wire.subscribe(error["data"]["job"]))
    assert log.end is not None
    assert (log.frames, log.end["exit"]["reason"]) == ([], "start_failed")


async def test_a_file_that_is_not_a_program(wire: "Wire", tmp_path: Path) -> None:
    """Without the mode of a program: EACCES; with it and no format of one: ENOEXEC; by name and by path."""
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    plain.chmod(0o644)
    for spec in ({"argv": [str(plain)]}, {"argv": ["plain"], "env": {"PATH": str(tmp_path)}}):
        job = await wire.create(**spec)
        await check_failure(wire, job, await wire.refused("job.start", id=job), errno.EACCES, "exec")
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\0\1\2\3")
    garbage.chmod(0o755)
    for spec in ({"argv": [str(garbage)]}, {"argv": ["garbage"], "env": {"PATH": str(tmp_path)}}):
        job = await wire.create(**spec)
        await check_failure(wire, job, await wire.refused("job.start", id=job), errno.ENOEXEC, "exec")


async def test_many_arguments(wire: "Wire") -> None:
    """An argv of 900 kB in many words arrives whole."""
    words = ["x" * 99] * 8_800
    run = await wire.ask("job.run", spec={"argv": ["sh", "-c", 'echo $#; printf %s "$@" | wc -c', "sh", *words]})
    assert (await wire.follow(run["subscription"])).stdout.split() == [b"8800", b"871200"]


async def test_a_large_environment(wire: "Wire") -> None:
    """An environment of 900 kB arrives whole."""
    env = {f"V{number}": "y" * 9_000 for number in range(100)}
    run = await wire.ask("job.run", spec={"argv": ["sh", "-c", "env | grep -c ^V; echo ${#V99}"], "env": env})
    assert (await wire.follow(run["subscription"])).stdout.split() == [b"100", b"9000"]


@pytest.mark.parametrize(
    ("first", "words"),
    [("#!/no/such/python\n", "its interpreter '/no/such/python' is not"), ("#!/bin/sh\r\n", "CR LF")],
)
async def test_a_script_whose_interpreter_is_missing(wire: "Wire", tmp_path: Path, first: str, words: str) -> None:
    """The file is there: the message names the interpreter, not the file."""
    script = tmp_path / "script"
    script.write_text(f"{first}echo hello\n")
    script.chmod(0o755)
    error = await wire.refused("job.start", id=await wire.create(argv=[str(script)]))
    assert words in error["message"]
