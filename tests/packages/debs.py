"""The Debian package of this tree, a newer one, and a host to install them on: an overlay over this one."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import DEADLINE

ROOT = Path(__file__).parents[2]
NEWER = "99.0"
PACKED = "opt/jobworker/lib/python3*/site-packages"
# Its packages are those of this host, so that none has to be fetched. A shell is the first process, which reaps.
ENTER = """
set -eu
mount --make-rprivate /
mount -t overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
rm -rf var/lib/jobworker opt/jobworker etc/jobworker
exec chroot . sh -c 'touch /run/there; while :; do sleep 1000 & wait $!; done'
"""


def lacking() -> str:
    """Return why no package can be built or installed here; empty if that works."""
    missing = [tool for tool in ("dpkg-deb", "unshare", "make") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid():
        return "packages are installed by root only"
    found = subprocess.run(["/usr/bin/python3", "-c", "import ensurepip"], capture_output=True, check=False)
    return "Debian's python3-venv is missing: the package is built with it" if found.returncode else ""


def build() -> Path:
    """Return the package of this tree, by `make deb`, or the one that JOBWORKER_DEB names."""
    if named := os.environ.get("JOBWORKER_DEB"):
        return Path(named)
    subprocess.run(["make", "--no-print-directory", "-C", str(ROOT), "deb"], check=True, capture_output=True)
    return next((ROOT / "dist").glob("jobworker_*.deb"))


def newer(deb: Path, folder: Path) -> Path:
    """Return the same package as one of a later version, whose keeper is another one as well."""
    tree = folder / "newer"
    subprocess.run(["dpkg-deb", "-R", str(deb), str(tree)], check=True)
    packages = next(tree.glob(PACKED))
    _edit(tree / "DEBIAN/control", r"^Version: .*$", f"Version: {NEWER}")
    _edit(packages / "jobworker/__init__.py", r"^__version__ = .*$", f'__version__ = "{NEWER}"')
    with (packages / "jobworker/keeper/__init__.py").open("a") as file:
        file.write("# newer\n")
    (tree / "DEBIAN/md5sums").unlink()
    made = folder / f"jobworker_{NEWER}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", str(tree), str(made)], check=True)
    shutil.rmtree(tree)
    return made


def _edit(path: Path, pattern: str, line: str) -> None:
    text, count = re.subn(pattern, line, path.read_text(), flags=re.MULTILINE)
    assert count == 1, path
    path.write_text(text)


class Host:
    """A host like this one, in namespaces of its own, whose changes are in the folder `changes`."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self.changes = folder / "changes"
        self._process = process

    @property
    def _first(self) -> str:
        """The first process, as this host numbers it."""
        return Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()[0]

    def run(self, line: str, *, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a line of sh as root."""
        enter = ["nsenter", "--target", self._first, "--mount", "--pid", "--root"]
        env = [
            "env",
            "--chdir=/",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/nonexistent",
            "DEBIAN_FRONTEND=noninteractive",
        ]
        done = subprocess.run(
            [*enter, *env, "sh", "-c", line], capture_output=True, text=True, check=False, timeout=5 * DEADLINE
        )
        assert not check or done.returncode == 0, (line, done.stdout, done.stderr)
        return done

    def is_there(self) -> bool:
        try:
            return Path(f"/proc/{self._first}/root/run/there").exists()
        except (OSError, IndexError):
            return False


@contextmanager
def host(folder: Path) -> Iterator[Host]:
    for name in ("changes", "work", "root"):
        (folder / name).mkdir()
    space = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    process = subprocess.Popen([*space, "sh", "-c", ENTER, "sh", str(folder)], stdin=subprocess.DEVNULL)
    try:
        made = Host(folder, process)
        end = time.monotonic() + DEADLINE
        while not made.is_there():
            assert process.poll() is None, "no host could be made: see the output"
            assert time.monotonic() < end
            time.sleep(0.02)
        yield made
    finally:
        process.kill()
        process.wait()
