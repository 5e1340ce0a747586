"""Pack the code under test as a tar file, which the guest sees as a disk and unpacks over its root at each boot."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.vm.recipe import PYTHON, VENV

DISK_BYTES = 32 << 20
TREE = "/opt/tree"  # in the guest: a copy of the work tree, with its tests
SCRIPT = f"#!{VENV}/bin/python\nimport sys\nfrom jobworker_cli.app import main\nsys.exit(main())\n"


def pack(tree: Path, tar: Path) -> None:
    """Write the work tree, committed or not, to the file `tar`: installed below VENV, and whole at TREE."""
    with tempfile.TemporaryDirectory() as work:
        root = Path(work) / "root"
        _install(tree, root, Path(work))
        _copy(tree, root)
        control = root / "opt/vm/control.py"
        control.parent.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("control.py"), control)
        subprocess.run(["tar", "-C", str(root), "-cf", str(tar), "."], check=True)
    assert tar.stat().st_size < DISK_BYTES
    os.truncate(tar, DISK_BYTES)  # a running guest sees no change of size; tar ignores zeros behind its end


def _install(tree: Path, root: Path, work: Path) -> None:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(work), str(tree)]
    subprocess.run(pip, check=True)
    version = subprocess.run(
        [PYTHON, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    packages = Path(f"{root}{VENV}/lib/{version}/site-packages")
    packages.mkdir(parents=True)
    with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
        wheel.extractall(packages)
    script = Path(f"{root}{VENV}/bin/jw")
    script.parent.mkdir()
    script.write_text(SCRIPT)
    script.chmod(0o755)
    # A plain user cannot write bytecode there, and compiling takes the emulated processor seconds at each start.
    compiling = [PYTHON, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "-s", str(root)]
    subprocess.run([*compiling, "-p", "/", str(packages)], check=True)


def _copy(tree: Path, root: Path) -> None:
    listing = ["git", "-C", str(tree), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        source, target = tree / name, Path(f"{root}{TREE}") / name
        if source.is_file():  # not one that is deleted and not yet committed
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
