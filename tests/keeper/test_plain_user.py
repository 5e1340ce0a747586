"""All of this works without root."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support import plain_user
from tests.torture import run as torture

import jobworker
import jobworker_plugins

NOBODY = 65534


@pytest.fixture
def user() -> dict[str, Any]:
    """What makes `subprocess.run` run as a plain user."""
    options = {"cwd": "/", "capture_output": True, "timeout": 120}
    return options | ({"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {})


@pytest.fixture
def environment() -> dict[str, str]:
    rooms = [Path(package.__file__ or "").parents[1] for package in (jobworker, jobworker_plugins, msgspec)]
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(map(str, rooms)), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def interpreter(user: dict[str, Any], environment: dict[str, str]) -> str:
    """An interpreter that the plain user can start, and that has what we import."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        argv = [candidate, "-c", "import jobworker.host.keeper_link, jobworker.host.journal"]
        try:
            if subprocess.run(argv, check=False, env=environment, **user).returncode == 0:
                return candidate
        except OSError:
            continue
    pytest.skip(f"a plain user can start no Python {version} here that finds jobworker and msgspec")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the plain user's own."""
    path = Path(tempfile.mkdtemp(prefix="jobworker-test-"))
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    yield path
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.fsencode(path) in Path(f"/proc/{entry}/cmdline").read_bytes():
                os.kill(int(entry), signal.SIGKILL)
        except OSError:
            continue
    shutil.rmtree(path)


def test_launch_stop_and_sweep(
    user: dict[str, Any], environment: dict[str, str], interpreter: str, folder: Path
) -> None:
    """Launch, kill a tree with an escaped grandchild, and leave nothing, as a plain user."""
    script = folder / "plain_user.py"
    script.write_bytes(Path(plain_user.__file__).read_bytes())
    script.chmod(0o644)
    argv = [interpreter, str(script), str(folder / "home")]
    done = subprocess.run(argv, check=False, env=environment, text=True, **user)
    assert done.returncode == 0, done.stderr
    uid = user.get("user", os.geteuid())
    seen = json.loads(done.stdout)
    assert seen.pop("members") == seen.pop("delivered") >= 2
    assert seen == {
        "uid": uid,
        "code": 3,
        "output": f"{uid}\n",
        "signal": signal.SIGKILL,
        "namespace": ["user+pid", 4, True, 1, 0],
        "users": ["agent", "user", errno.EPERM],
        "changed": ["0027", "5", "40"],
        "remaining": 0,
        "run": False,
    }


@pytest.mark.slow
def test_torture(user: dict[str, Any], environment: dict[str, str], interpreter: str, folder: Path) -> None:
    """Nothing is lost, doubled or invented when agent, pump and keeper are killed, without root either."""
    script = Path(torture.__file__)
    faults = ["pump", "agent", "down", "keeper", "several", "volume", "races", "stops-blind", "stops-namespace"]
    argv = [interpreter, str(script), "--short", *faults]
    done = subprocess.run(argv, check=False, env=environment | {"TMPDIR": str(folder)}, text=True, **user)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" times\n") == 11
