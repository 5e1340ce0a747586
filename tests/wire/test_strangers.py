"""What another user prepares neither gets our secrets or our signals, nor keeps an agent from starting."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.stranger import UID, as_stranger, let_in

from jobworker.client import local
from jobworker.paths import Home
from jobworker.testing import RunningAgent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")

# A lock of an open file has no pid: F_GETLK returns -1, and kill(-1) is for every process of the host.
LOCKED = """
os.mkdir(sys.argv[1])
fd = os.open(sys.argv[1] + "/agent.lock", os.O_RDWR | os.O_CREAT, 0o666)
fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))  # F_OFD_SETLK
os.chmod(sys.argv[1], 0o777)
"""
PLANTS = {
    "locked": LOCKED,
    "bare": "os.mkdir(sys.argv[1])",
    "link": "os.symlink(sys.argv[2], sys.argv[1])",
    "file": "open(sys.argv[1], 'w')",
}


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def places(home: Home) -> list[Path]:
    """Return the places for the run folder that any user can take."""
    return [place for place in home.run_folders() if str(place.parent) in ("/dev/shm", "/tmp")]


@pytest.mark.parametrize("kind", PLANTS)
async def test_an_agent_starts_and_uses_nothing_that_is_not_its_own(home: Home, tmp_path: Path, kind: str) -> None:
    """Whatever is where the run folder should be: jobs run, and the stranger's things are untouched."""
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    place = places(home)[0]
    with as_stranger(PLANTS[kind], place, victim):
        assert local.agent_pid(home) is None
        agent = RunningAgent(home)
        agent.start()
        try:
            ran = agent.jw("run", "--", "echo", "hello")
            assert ran.stdout == "hello\n", ran.stderr
            assert local.agent_pid(home) == agent.pid
            assert not list(victim.iterdir())
            assert place.lstat().st_uid == UID
            if kind == "locked":
                assert os.listdir(place) == ["agent.lock"]
        finally:
            await agent.clean()
            remove(place)


def test_no_process_of_another_user_is_signalled(tmp_path: Path) -> None:
    """A state folder that a stranger prepared names one of their processes, or none: neither gets a signal."""
    folder = tmp_path / "theirs"
    let_in(tmp_path)
    tmp_path.chmod(0o777)
    locked = LOCKED.replace("37,", "fcntl.F_SETLK,")
    for code in (LOCKED, locked):
        with as_stranger(code, folder) as process:
            assert local.signal_agent(Home(folder), signal.SIGTERM) is None
            assert process.poll() is None
        remove(folder)


async def test_the_agent_itself_is_signalled(agent: RunningAgent) -> None:
    """A certificate that was renewed is loaded at once by the agent, which gets SIGHUP and goes on."""
    assert local.signal_agent(agent.home, signal.SIGHUP) == agent.pid
    assert json.loads(agent.jw("run", "--json", "--", "true").stdout.splitlines()[0])


# Secrets


def jw(*words: object, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "jobworker_cli", *map(str, words)]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that every user can reach and write, without the sticky bit."""
    let_in(tmp_path)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    return shared


PREPARED = {
    "a folder of theirs": "os.mkdir(sys.argv[1])",
    "a link to a folder of theirs": "os.mkdir(sys.argv[1] + '.real'); os.symlink(sys.argv[1] + '.real', sys.argv[1])",
    "a folder above of theirs": "os.mkdir(os.path.dirname(sys.argv[1])); os.mkdir(sys.argv[1], 0o777)",
}


@pytest.mark.parametrize("kind", PREPARED)
def test_no_key_is_written_where_a_stranger_could_take_it(shared: Path, kind: str) -> None:
    """`jw cert init --out` refuses a folder that somebody else made, or could replace, and writes nothing into it."""
    shared.chmod(0o1777)
    out = shared / "above" / "out" if "above" in kind else shared / "out"
    with as_stranger(PREPARED[kind], out):
        refused = jw("cert", "init", "--out", out)
        assert refused.returncode == 6, refused.stdout
        assert f"belongs to uid {UID}" in refused.stderr
        assert not list(out.iterdir())


def test_a_folder_that_everybody_can_write(shared: Path) -> None:
    """Keys, state folder and configuration: each below such a folder is refused, with the command that helps."""
    refused = jw("cert", "init", "--out", shared / "out")
    assert refused.returncode == 6
    assert f"hint: chmod go-w {shared}" in refused.stderr
    refused = jw("agent", "start", JOBWORKER_HOME=str(shared / "home"))
    assert refused.returncode == 6
    assert "every user" in refused.stderr
    config = shared / "config.toml"
    config.write_text("")
    refused = jw("agent", "run", "--config", config, JOBWORKER_HOME=str(shared.parent / "home"))
    assert refused.returncode != 0
    assert "every user" in refused.stderr
    shared.chmod(0o1777)
    assert jw("cert", "init", "--out", shared / "out").returncode == 0
    assert jw("cert", "init", "--out", shared / "out", "--force").returncode == 0


def test_a_link_of_a_stranger_in_the_place_of_a_key(shared: Path) -> None:
    """A name that a stranger planted is replaced, never written through, whatever the process id would be."""
    shared.chmod(0o1777)
    out = shared / "out"
    out.mkdir()
    (out / "server.key").symlink_to(shared / "stolen")
    assert jw("cert", "init", "--out", out, "--force").returncode == 0
    assert not (shared / "stolen").exists()
    assert not (out / "server.key").is_symlink()
