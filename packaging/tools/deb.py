"""Build the Debian package: ``/usr/bin/python3 packaging/tools/deb.py WHEEL FOLDER DOCS``; print its path.

FOLDER has the wheels of the dependencies, DOCS the generated files: jw.1, jobworker.service, jobworker.cdx.json.

dpkg-deb packs a tree that is staged here. debhelper would write the usual parts of the maintainer scripts itself,
but it needs a debian/ folder at the top with the version in it once more, and knows neither a virtual environment
nor an upgrade that must not stop the service; without it the build needs only what every Debian has.
The same commit gives the same bytes: the times are SOURCE_DATE_EPOCH, and nothing depends on folder or umask.
"""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = ROOT / "packaging" / "debian"
VENV = "opt/jobworker"
COMPLETIONS = {
    "jw.bash": "usr/share/bash-completion/completions/jw",
    "jw.zsh": "usr/share/zsh/vendor-completions/_jw",
    "jw.fish": "usr/share/fish/vendor_completions.d/jw.fish",
}
DOC = "usr/share/doc/jobworker"
EXAMPLES = ("config.toml", "packaging/prometheus/jobworker.rules.yml", "packaging/grafana/jobworker.json")
CONFFILES = ("etc/jobworker/config.toml",)
MAINTAINER = os.environ.get("DEB_MAINTAINER", "jobworker <jobworker@localhost>")
GLIBC = "2.34"  # what the wheels of the dependencies need at most (manylinux)
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


def run(*words: object) -> str:
    return subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def put(stage: Path, path: str, content: str | bytes, mode: int = 0o644) -> None:
    target = stage / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content if isinstance(content, bytes) else content.encode())
    target.chmod(mode)


def packed(text: str) -> bytes:
    """Return gzip without a time and a name in it."""
    return gzip.compress(text.encode(), 9, mtime=0)


def make_venv(stage: Path, wheel: Path, wheels: Path) -> None:
    """Make the virtual environment as if it were made at /opt/jobworker."""
    venv = stage / VENV
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    names = [path.name.split("-")[:2] for path in sorted([*wheels.glob("*.whl"), wheel])]
    pip = [ROOT / "build/deb/tools/bin/python", "-m", "pip", "--python", venv / "bin/python", "--quiet"]
    options = ["--no-index", "--no-deps", "--no-compile", "--no-warn-script-location"]
    folders = ["--find-links", wheels, "--find-links", wheel.parent]
    run(*pip, "install", *options, *folders, *(f"{name}=={version}" for name, version in names))
    for path in (venv / "bin").iterdir():
        if not path.is_symlink() and path.name != "jw":
            path.unlink()  # activate for shells, and programs of the dependencies
    for path in (venv / "bin/jw", venv / "pyvenv.cfg"):
        path.write_text(path.read_text().replace(str(stage), ""))
    for record in venv.glob("lib/python*/site-packages/*.dist-info/RECORD"):
        _mend(record)
    for path in [*venv.rglob("__pycache__"), venv / "include"]:
        shutil.rmtree(path, ignore_errors=True)


def _mend(record: Path) -> None:
    """Write the list of a distribution's files without what was removed, and with the digests of now."""
    kept = [line for line in record.read_text().splitlines() if not line.startswith("../../../bin/")]
    if "jobworker-" in record.parent.name:
        kept.append("../../../bin/jw,,")
    record.write_text("".join(f"{line}\n" for line in sorted(kept)))


def add_files(stage: Path, docs: Path, version: str, day: int) -> None:
    """Add what the host has outside of the virtual environment."""
    put(stage, "lib/systemd/system/jobworker.service", (docs / "jobworker.service").read_text())
    put(stage, CONFFILES[0], (HERE / "config.toml").read_text())
    for name, target in COMPLETIONS.items():
        put(stage, target, (ROOT / "cli/jobworker_cli/completion" / name).read_text())
    put(stage, "usr/share/man/man1/jw.1.gz", packed((docs / "jw.1").read_text()))
    (stage / "usr/share/man/man1/jobworker.1.gz").symlink_to("jw.1.gz")
    (stage / "usr/bin").mkdir()
    for name in ("jw", "jobworker"):
        (stage / "usr/bin" / name).symlink_to("/opt/jobworker/bin/jw")
    put(stage, f"{DOC}/copyright", (HERE / "copyright").read_text())
    put(stage, f"{DOC}/jobworker.cdx.json", (docs / "jobworker.cdx.json").read_text())
    for name in EXAMPLES:
        put(stage, f"{DOC}/examples/{Path(name).name}", (ROOT / name).read_text())
    put(stage, "usr/share/lintian/overrides/jobworker", (HERE / "lintian-overrides").read_text())
    entry = (
        f"jobworker ({version}) stable; urgency=medium\n\n  * See NEWS.gz.\n\n -- {MAINTAINER}  {formatdate(day)}\n"
    )
    put(stage, f"{DOC}/changelog.gz", packed(entry))
    put(stage, f"{DOC}/NEWS.gz", packed((ROOT / "CHANGELOG.md").read_text()))


def add_control(stage: Path, version: str, architecture: str) -> None:
    files = [path for path in sorted(stage.rglob("*")) if path.is_file() and not path.is_symlink()]
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(stage)}\n" for path in files]  # noqa: S324
    major, minor = sys.version_info[:2]
    depends = [f"python3 (>= {major}.{minor})", f"python3 (<< {major}.{minor + 1})", f"libc6 (>= {GLIBC})"]
    values = {
        "version": version,
        "architecture": architecture,
        "maintainer": MAINTAINER,
        "size": sum(-(-path.stat().st_size // 1024) for path in files),
        "depends": ", ".join([*depends, "init-system-helpers (>= 1.51)"]),
    }
    put(stage, "DEBIAN/control", (HERE / "control").read_text().format(**values))
    put(stage, "DEBIAN/conffiles", "".join(f"/{name}\n" for name in CONFFILES))
    put(stage, "DEBIAN/md5sums", "".join(sums))
    for name in ("postinst", "prerm", "postrm"):
        put(stage, f"DEBIAN/{name}", (HERE / name).read_text(), 0o755)


def settle(stage: Path, day: int) -> None:
    """Give all files the same rights and times, whatever the umask was."""
    for path in [stage, *stage.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (day, day), follow_symlinks=False)


def debian_version(version: str) -> str:
    """Return a version of Python as Debian sorts it: one before a release has a tilde."""
    return re.sub(r"(a|b|rc|\.dev)(?=\d)", r"~\1", version)


def main() -> None:
    wheel, wheels, docs = map(Path, sys.argv[1:])
    day = int(os.environ["SOURCE_DATE_EPOCH"])
    version = debian_version(wheel.name.split("-")[1])
    architecture = run("dpkg", "--print-architecture")
    stage = ROOT / "build/deb/root"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    make_venv(stage, wheel, wheels)
    add_files(stage, docs, version, day)
    add_control(stage, version, architecture)
    settle(stage, day)
    target = ROOT / "dist" / f"jobworker_{version}_{architecture}.deb"
    # Level 3 takes less than half the time of the usual 6, for a tenth more bytes; threads would change them.
    run("dpkg-deb", "--root-owner-group", "-Zxz", "-z3", "--threads-max=1", "--build", stage, target)
    print(target.relative_to(ROOT))


if __name__ == "__main__":
    main()
