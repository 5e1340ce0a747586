"""`make dist`: the same bytes from the same commit, wherever it is built; pipx and uv install the wheel."""

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "build/dist-tools"  # made once, not in each folder
SECONDS = 300  # for an installation from a registry
INSTALLERS = {"pipx": ["pipx", "install"], "uv": ["uv", "tool", "install"]}
# Where each of them writes.
PLACES = {"PIPX_HOME": "pipx", "PIPX_BIN_DIR": "bin", "UV_TOOL_DIR": "uv", "UV_TOOL_BIN_DIR": "bin", "HOME": "home"}

pytestmark = pytest.mark.slow


def make_dist(folder: Path, umask: str) -> dict[str, str]:
    """Build in a folder and return the digest of each file."""
    line = f'umask {umask}; make --no-print-directory -C "{folder}" dist DIST_TOOLS="{TOOLS}"'
    env = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    subprocess.run(["sh", "-c", line], check=True, capture_output=True, env=env)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "dist").iterdir()}


def clone(folder: Path, umask: str) -> Path:
    command = f'umask {umask}; git clone --quiet --shared "{ROOT}" "{folder}"'
    subprocess.run(["sh", "-c", command], check=True)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A clone of the last commit in which `make dist` ran, and the digests of what it built."""
    folder = clone(tmp_path_factory.mktemp("first") / "jobworker", "022")
    return folder / "dist", make_dist(folder, "022")


def test_the_same_bytes_from_the_same_commit(built: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """In another folder, with another umask and younger files; and from the sdist, which has no commit."""
    folder, first = built
    assert sorted(name.rpartition(".")[2] for name in first) == ["gz", "whl"]
    assert make_dist(clone(tmp_path / "elsewhere" / "tree", "077"), "077") == first
    sdist = next(folder.glob("*.tar.gz"))
    commit = subprocess.run(["git", "-C", str(folder), "log", "-1", "--format=%ct"], capture_output=True, check=True)
    with tarfile.open(sdist) as archive:
        assert {member.mtime for member in archive} == {int(commit.stdout)}
    subprocess.run(["tar", "-x", "-C", str(tmp_path), "-f", str(sdist)], check=True)
    assert make_dist(tmp_path / sdist.name.removesuffix(".tar.gz"), "022") == first


@pytest.mark.parametrize("installer", INSTALLERS)
def test_an_installer_of_programs(installer: str, built: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """`jw` of the wheel runs a job, in an environment of its own."""
    if shutil.which(installer) is None:
        pytest.skip(f"{installer} is not installed here")
    wheel = next(built[0].glob("*.whl"))
    env = os.environ | {name: str(tmp_path / place) for name, place in PLACES.items()}
    env["JOBWORKER_HOME"] = str(tmp_path / "state")
    subprocess.run([*INSTALLERS[installer], str(wheel)], check=True, env=env, timeout=SECONDS)
    jw = str(tmp_path / "bin" / "jw")
    try:
        done = subprocess.run(
            [jw, "run", "--", "echo", "hello"], env=env, capture_output=True, check=True, timeout=60
        )
        assert done.stdout == b"hello\n"
    finally:
        subprocess.run([jw, "agent", "stop", "--jobs"], env=env, check=True, timeout=60)
