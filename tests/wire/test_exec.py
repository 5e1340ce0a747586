"""A start succeeds when execve does; otherwise the error has the step and the errno."""

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobworker.linux.lookup import local_devices

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
    """An argv of 1.8 MB in many words arrives whole."""
    words = ["x" * 99] * 16_600
    run = await wire.ask("job.run", spec={"argv": ["sh", "-c", 'echo $#; printf %s "$@" | wc -c', "sh", *words]})
    assert (await wire.follow(run["subscription"])).stdout.split() == [b"16600", b"1643400"]


async def test_a_large_environment(wire: "Wire") -> None:
    """An environment of 1.8 MB arrives whole."""
    env = {f"V{number}": "y" * 18_000 for number in range(100)}
    run = await wire.ask("job.run", spec={"argv": ["sh", "-c", "env | grep -c ^V; echo ${#V99}"], "env": env})
    assert (await wire.follow(run["subscription"])).stdout.split() == [b"100", b"18000"]


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("#!/no/such/python\n", "the file is there, its interpreter '/no/such/python' is not"),
        ("#!/bin/sh\r\n", "'/bin/sh\\r' is not: the first line ends with CR LF"),
        ("#!python3\n", "expected an absolute path"),
        ("#!/etc\n", "for the file or its interpreter '/etc'"),
        ("\ufeff#!/bin/sh\n", "byte order mark"),
        ("# a script\n", "expected a first line that names its interpreter"),
        ("\x7fELF\n", "another kind of processor"),
        ("", "the file is empty"),
    ],
)
async def test_a_script_that_the_kernel_does_not_execute(
    wire: "Wire", tmp_path: Path, first: str, words: str
) -> None:
    """The file is there: the message has what is wrong with it, by path and by PATH, wherever the job starts."""
    require_local(tmp_path)
    script = tmp_path / "script"
    script.write_text(first and f"{first}echo hello\n")
    script.chmod(0o755)
    error = await wire.refused("job.start", id=await wire.create(argv=[str(script)]))
    assert words in error["message"]
    spec = {"argv": ["script"], "env": {"PATH": str(tmp_path)}, "cwd": "/"}
    error = await wire.refused("job.start", id=await wire.create(**spec))
    assert words in error["message"]


async def test_what_is_no_program(wire: "Wire", tmp_path: Path) -> None:
    """A folder, a file without the mode, a name that no folder of PATH has: each has its own message."""
    require_local(tmp_path)
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    for name, words in (("", "it is a folder"), ("plain", "chmod +x")):
        error = await wire.refused("job.start", id=await wire.create(argv=[f"{tmp_path}/{name}"]))
        assert words in error["message"]
    # A file of that name in the folder of the job is not what was looked for.
    (tmp_path / "other").write_text("#!/no/such/python\n")
    (tmp_path / "other").chmod(0o755)
    error = await wire.refused("job.start", id=await wire.create(argv=["other"], cwd=str(tmp_path)))
    assert "no folder of its PATH has one of that name" in error["message"]


def require_local(folder: Path) -> None:
    if folder.stat().st_dev not in local_devices():
        pytest.skip("the temporary folder is not on a local file system: the agent does not look at its files")
