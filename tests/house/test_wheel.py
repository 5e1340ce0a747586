"""What is installed is one wheel with three packages, and nothing in a stranger's way."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(pip, check=True)
    return next(folder.glob("jobworker-*.whl"))


def test_the_wheel_holds_our_packages_and_no_other(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"jobworker", "jobworker_cli", "jobworker_plugins"}
    for package in tops:
        assert f"{package}/py.typed" in names
    assert {"jobworker/keeper/__main__.py", "jobworker/pump/__main__.py"} <= set(names)
    web = ROOT / "agent/jobworker/web/static"
    assert {f"jobworker/web/static/{path.relative_to(web)}" for path in web.rglob("*") if path.is_file()} <= set(
        names
    )
    units = "jobworker_cli/systemd"
    assert {f"{units}/jobworker.service", f"{units}/user/jobworker.service"} <= set(names)


def test_jw_runs_a_job_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """In an environment that has nothing but the wheel and what it names."""
    venv.create(tmp_path / "venv", with_pip=True)
    binaries = tmp_path / "venv" / "bin"
    subprocess.run([binaries / "python", "-m", "pip", "install", "--quiet", wheel], check=True)
    env = {"PATH": os.defpath, "JOBWORKER_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    try:
        done = subprocess.run(
            [binaries / "jw", "run", "--", "sh", "-c", "echo out; echo err >&2; exit 9"],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (9, b"out\n"), done.stderr
        assert done.stderr.endswith(b"err\n")
    finally:
        subprocess.run([binaries / "jw", "agent", "stop", "--jobs"], env=env, check=True, timeout=60)
