"""The runbook of docs/how-to/upgrade.md: from an older wheel to this one and back, with jobs running."""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# Until there is a release: a version with the format of the job table of today, without metrics and screens.
OLDER = "6e057c75cba0"
SECONDS = 240.0  # for a step; an installation loads what it needs
COUNT = 'n=0; while [ ! -e "$0" ]; do n=$((n+1)); echo $n; sleep 0.02; done; echo end; exit 7'

pytestmark = pytest.mark.slow


def run(*words: object, **how: Any) -> str:
    command = [*map(str, words)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=SECONDS, check=False, **how)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return str(done.stdout)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel of an older version, and that of this one."""
    known = subprocess.run(
        ["git", "-C", ROOT, "cat-file", "-e", f"{OLDER}^{{commit}}"], capture_output=True, check=False
    )
    if known.returncode:
        pytest.skip(f"the commit {OLDER} of an older version is not in this clone")
    folder = tmp_path_factory.mktemp("wheels")
    archive = folder / "older.tar"
    run("git", "-C", ROOT, "archive", "-o", archive, OLDER)
    (folder / "older").mkdir()
    shutil.unpack_archive(archive, folder / "older", filter="data")
    ignored = shutil.ignore_patterns(".*", "build", "dist", "node_modules")
    shutil.copytree(ROOT, folder / "newer", ignore=ignored)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "wheel", "--no-deps"]
    for name in ("older", "newer"):
        run(*pip, "--wheel-dir", folder / f"{name}-wheel", folder / name)
    older, newer = (next((folder / f"{name}-wheel").glob("*.whl")) for name in ("older", "newer"))
    return older, newer


class Installed:
    """An environment that has one version after the other, and its `jw`; what they need is that of the tests."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._folder = folder
        self._env = {"PATH": f"{folder / 'bin'}:{os.defpath}", "JOBWORKER_HOME": str(home), "HOME": str(folder)}
        venv.create(folder, with_pip=False)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "needed.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")

    def install(self, wheel: Path) -> None:
        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
        run(*pip, "--python", self._folder / "bin" / "python", "install", "--no-deps", "--force-reinstall", wheel)

    def jw(self, *words: str) -> str:
        return run(self._folder / "bin" / "jw", *words, env=self._env)

    def code(self, *words: str) -> int:
        command = [str(self._folder / "bin" / "jw"), *words]
        return subprocess.run(command, env=self._env, capture_output=True, timeout=SECONDS, check=False).returncode

    def json(self, *words: str) -> Any:
        return json.loads(self.jw(*words, "--json"))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Installed]:
    installed = Installed(tmp_path / "venv", tmp_path / "home")
    yield installed
    installed.code("agent", "stop", "--jobs")


def test_upgrade_and_back(wheels: tuple[Path, Path], host: Installed, tmp_path: Path) -> None:
    """Jobs keep their processes, their output and their exit codes, and an older `jw` works with the newer agent."""
    older, newer = wheels
    host.install(older)
    client = Installed(tmp_path / "client", tmp_path / "home")
    client.install(older)
    gates = [tmp_path / f"gate{number}" for number in range(2)]
    jobs = [host.jw("run", "-d", "--", "sh", "-c", COUNT, str(gate)).strip() for gate in gates]
    ended = host.jw("run", "-d", "--", "sh", "-c", "echo before; exit 5").strip()
    assert host.code("wait", ended) == 5
    before = {job: host.json("status", job) for job in [*jobs, ended]}

    for number, wheel in enumerate((newer, older)):
        host.install(wheel)
        host.jw("agent", "restart")
        for each in (host, client):
            listed = {job["id"]: job for job in each.json("ps", "-a")["jobs"]}
            for job in jobs[number:]:
                assert (listed[job]["state"], listed[job]["pid"]) == ("running", before[job]["pid"])
            known = before[ended]["exit"]  # a newer version may add fields
            assert {name: listed[ended]["exit"][name] for name in known} == known
            assert each.jw("run", "--", "sh", "-c", f"echo {number}") == f"{number}\n"
            stopped = each.jw("run", "-d", "--", "sleep", "1000").strip()
            assert each.json("stop", stopped)["exit"]["signal"] == "SIGTERM"
        gates[number].touch()
        assert host.code("wait", jobs[number]) == 7
        *lines, last = client.jw("logs", jobs[number]).splitlines()
        assert (lines, last) == ([str(n) for n in range(1, len(lines) + 1)], "end")
        if wheel == newer:
            host.jw("agent", "drain")
            assert client.code("run", "true") == 125, (
                "an older jw reports the error; an older agent ignores the drain"
            )
