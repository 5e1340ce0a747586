"""Names of jobs that several jobs have, that are missing, or that are no text."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import DEADLINE, RunningAgent

from jobworker.paths import Home

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

COMMAND = [sys.executable, "-m", "jobworker_cli"]


def test_stop_means_the_job_that_runs_and_not_a_newer_one_that_has_ended(jw: "Jw") -> None:
    runs = jw.out("run", "-d", "--name", "dup-ended", "--", "sleep", "600")
    assert jw("run", "--name", "dup-ended", "--", "true").returncode == 0
    assert jw.out("stop", "-q", "dup-ended") == runs
    newer = jw.out("status", "-q", "dup-ended")
    assert newer != runs, "the newest, if all have ended"


def test_a_second_live_job_of_a_name(jw: "Jw") -> None:
    """It is started, with a warning; so is a command that means one of both."""
    first = jw.out("run", "-d", "--name", "dup-live", "--", "sleep", "600")
    warning = f"jw: the name dup-live is that of job {first} too, which is running\n"
    done = jw("run", "--name", "dup-live", "--", "true")
    assert (done.returncode, done.stderr) == (0, warning)
    done = jw("run", "-d", "--name", "dup-live", "--", "sleep", "600")
    assert done.stderr == warning
    second = done.stdout.strip()
    done = jw("stop", "-q", "dup-live")
    assert (done.returncode, done.stdout) == (0, f"{second}\n"), done
    assert f"2 live jobs have the name dup-live: this is the newest, {second}; the other is {first}" in done.stderr
    created = jw("create", "--name", "dup-live", "--", "sleep", "600")
    assert created.stderr == warning
    third = created.stdout.strip()
    assert jw.out("status", "-q", "dup-live") == first, "what runs comes before what was only created"
    assert jw("start", "-q", "dup-live").stdout.strip() == third
    assert jw("kill", third, first).stderr == ""
    assert jw("run", "--name", "dup-live", "true").stderr == ""


def test_one_missing_job_among_four(jw: "Jw") -> None:
    """The logs of the others are shown, the missing one is named, and the exit code is not 0."""
    for name in ("log-a", "log-b", "log-c"):
        assert jw("run", "--name", name, "--", "echo", f"of {name}").returncode == 0
    for options in ([], ["-f"]):
        done = jw("logs", *options, "log-a", "log-b", "no-such", "log-c")
        assert done.stdout.splitlines() == [f"{name} | of {name}" for name in ("log-a", "log-b", "log-c")]
        assert (done.returncode, done.stderr) == (3, "jw: error: there is no job 'no-such'\nhint: jw ps -a\n")
    assert jw("logs", "log-a", "no-such").stdout == "log-a | of log-a\n"
    assert jw("logs", "no-such", "nor-this").returncode == 3
    done = jw("stats", "log-a", "no-such")
    assert (done.returncode, jw.job("log-a")["id"] in done.stdout) == (3, True), done


def test_120_logs_at_once(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a connection may have subscriptions."""
    from tests.cli.conftest import Jw

    agent = RunningAgent(Home(tmp_path_factory.mktemp("many") / "home"), "[limits]\nsubscriptions = 5\n")
    agent.start()
    monkeypatch.setenv("JOBWORKER_HOME", str(agent.home.path))
    jw = Jw()
    try:
        end = agent.home.path / "end"
        script = f"echo x; while [ ! -e {end} ]; do sleep 0.1; done"
        ids = [jw.call("job.create", spec={"shell": script})["id"] for _ in range(12)]
        for job in ids:
            jw.call("job.start", id=job)
        following = jw.start("logs", "-f", *ids)
        following.wait_for(rb"(.* \| x\n){12}")
        end.touch()
        assert (following.end(), following.said["stderr"]) == (0, b"")
        done = jw("logs", *ids)
        assert (done.returncode, sorted(done.stdout.splitlines())) == (0, [f"{job} | x" for job in sorted(ids)]), done
    finally:
        jw.close()
        asyncio.run(agent.clean())


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "\udcff"],
        ["logs", "\udcff"],
        ["stop", "\udcff"],
        ["run", "--name", "\udcff", "true"],
        ["run", "-l", "a=\udcff", "true"],
        ["run", "-d", "-l", "\udcff=a", "true"],
        ["run", "-u", "\udcff", "true"],
        ["run", "--key", "\udcff", "true"],
        ["run", "--stop-option", "a=\udcff", "true"],
        ["run", "--timeout", "\udcff", "true"],
        ["run", "-e", "\udcff=A", "true"],
        ["run", "--write", "/\udcff", "true"],
        ["kill", "-s", "\udcff", "x"],
        ["update", "-l", "a=\udcff", "x"],
        ["rpc", "job.list", "labels=\udcff"],
        ["rpc", "\udcff"],
        ["--context", "\udcff", "ps"],
        ["plugins", "enable", "\udcff"],
        ["context", "use", "\udcff"],
        ["\udcff"],
        ["ps", "--\udcff"],
        ["audit", "--job", "\udcff"],
    ],
    ids=str,
)
@pytest.mark.usefixtures("jw")
def test_an_argument_that_is_not_utf_8(arguments: list[str]) -> None:
    """Each is refused with the value, or does not match; no error of Python is printed."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=DEADLINE, check=False)
    assert done.returncode in ((0,) if arguments[0] == "audit" else (1, 2, 3, 125)), done
    assert b"Error" not in done.stderr.removeprefix(b"jw: error"), done
    assert b"\xff" not in done.stderr
    done.stderr.decode()


def test_files_whose_names_are_not_utf_8(jw: "Jw", shared: RunningAgent, tmp_path: Path) -> None:
    """They can be named in every option that takes a file; their bytes come out unchanged."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (folder / "ca.pem").write_bytes(shared.ca.read_bytes())
    (folder / "token").write_text(shared.token)
    (folder / "config.toml").write_text("[server]\nport = 0\n")
    env = os.environ | {"XDG_CONFIG_HOME": str(folder)}

    def call(*arguments: str, **more: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [*COMMAND, *arguments], capture_output=True, timeout=DEADLINE, env=env | more, check=False
        )

    added = call(
        *("context", "add", "odd", "--address", shared.address),
        *("--ca", str(folder / "ca.pem"), "--token-file", str(folder / "token")),
    )
    assert added.returncode == 0, added
    assert call("--context", "odd", "ps").returncode == 0
    assert call("context", "ls").returncode == 0
    made = call("cert", "init", "--out", str(folder / "tls"))
    assert (made.returncode, b"caf\xe9/tls" in made.stdout) == (0, True), made
    made = call("plugins", "new", "odd-one", "--out", str(folder))
    assert (made.returncode, b"caf\xe9/jobworker-odd-one" in made.stdout) == (0, True), made
    assert call("plugins", "disable", "total", "--config", str(folder / "config.toml")).returncode == 0
    assert jw("version").returncode == 0
