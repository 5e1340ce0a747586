"""Build the disk image of the guest: Debian 12 with systemd, and a venv with what jobworker depends on.

The image holds no code of jobworker: `code.py` packs that, and each boot unpacks it. So the image is built once and
kept in a cache folder under a hash of all that it is made of.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).parents[2]
VENV = "/opt/jobworker"  # in the guest; its Python is /usr/bin/python3 of Debian
PYTHON = "/usr/bin/python3"  # of this host: it must be the guest's version, the venv is made with it
TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
}
SUITE = "bookworm"
# The release of Debian whose kernel the guest has, all else is of SUITE: bookworm's is Linux 6.1, bullseye's 5.10.
KERNEL_SUITE = os.environ.get("JOBWORKER_VM_KERNEL", SUITE)
PIN = f"Package: linux-image-*\nPin: release n={KERNEL_SUITE}\nPin-Priority: 1001\n"
SIZE = "3G"  # of the sparse image
PACKAGES = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "dbus-user-session",
    "udev",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "python3",
    "python3-venv",
    "procps",
    "iproute2",
    "strace",
]
MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "ext4"]  # all that is needed to find the root file system
NOT_IN_GUEST = ("mypy", "ruff", "jobworker")  # of the extra `dev`
UNITS = {
    # A disk that is a tar file: all that changes between two boots of one image.
    "vm-code.service": """
        [Unit]
        Description=Unpack the code under test
        DefaultDependencies=no
        After=systemd-remount-fs.service local-fs.target dev-vdb.device
        Requires=dev-vdb.device
        Before=basic.target
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        ExecStart=/bin/tar -x -f /dev/vdb -C / --no-same-owner --overwrite
        """,
    "vm-control.service": """
        [Unit]
        Description=Run commands for the tests
        Requires=vm-code.service
        After=vm-code.service basic.target dbus.service systemd-logind.service
        [Service]
        ExecStart=/usr/bin/python3 -u /opt/vm/control.py
        KillMode=process
        Restart=always
        TasksMax=infinity
        [Install]
        WantedBy=multi-user.target
        """,
}
NETWORK = "[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
# A timer that wakes in the middle of a test costs it seconds here.
MASKED = ["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer", "e2scrub_all.timer"]


@dataclass(frozen=True)
class Image:
    kernel: Path
    initrd: Path
    disk: Path


def cache() -> Path:
    """Where images are kept: $JOBWORKER_VM_CACHE, or `jobworker` below the user's cache folder."""
    if named := os.environ.get("JOBWORKER_VM_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jobworker"


def missing() -> str:
    """Return why no guest can be had here; empty if one can."""
    lacking = sorted({package for program, package in TOOLS.items() if shutil.which(program) is None})
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    if os.geteuid():
        return "mmdebstrap builds the image as root only"
    if not Path(PYTHON).exists():
        return f"{PYTHON} is missing: the guest's venv is made with Debian's Python"
    return ""


def dependencies() -> list[str]:
    """Return what pyproject.toml asks for, with all that the tests need."""
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["jwt"], *extras["testing"], *extras["dev"]]
    return [line for line in wanted if not re.match(rf"({'|'.join(NOT_IN_GUEST)})\b(?!-)", line)]


def sources() -> list[str]:
    """Return the files that name the Debian archive to apt here; other archives are left out."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").iterdir())]
    files = [path for path in files if path.suffix in (".list", ".sources") and path.exists()]
    line = re.compile(rf"^(deb|Suites:)\s.*\b{SUITE}(\s|$)", re.MULTILINE)
    return [str(path) for path in files if line.search(path.read_text())]


def _kernel_sources(work: Path) -> list[str]:
    """Return files that name the release of the kernel to apt, where those of SUITE are."""
    if KERNEL_SUITE == SUITE:
        return []
    made = []
    for path in map(Path, sources()):
        (work / path.name).write_text(re.sub(rf"\b{SUITE}\b", KERNEL_SUITE, path.read_text()))
        made.append(str(work / path.name))
    return made


def build() -> Image:
    """Return the image, built first if the cache has none of this recipe (about two minutes)."""
    parts = [Path(__file__).read_text(), KERNEL_SUITE, *dependencies()]
    name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    folder = cache() / f"vm-{name}"
    if not folder.exists():
        cache().mkdir(parents=True, exist_ok=True)
        print(f"building the guest's image in {folder} (once)", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=cache()) as work:
            _build(Path(work))
            # A build that was interrupted must not look like an image; of two at once the later one is dropped.
            try:
                (Path(work) / "image").rename(folder)
            except OSError:
                if not folder.exists():
                    raise
    return Image(folder / "vmlinuz", folder / "initrd", folder / "disk.img")


def _build(work: Path) -> None:
    root, image = work / "root", work / "image"
    image.mkdir()
    # The hook runs before the kernel is installed, which makes the initrd: a small one boots faster.
    small = f"mkdir -p conf.d; echo MODULES=list >conf.d/small; printf '%s\\n' {' '.join(MODULES)} >modules"
    initramfs = f'mkdir -p "$1/etc/initramfs-tools"; cd "$1/etc/initramfs-tools"; {small}'
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    (work / "pin").write_text(PIN)
    pin = f'--setup-hook=install -D -m 644 {work / "pin"} "$1/etc/apt/preferences.d/kernel"'
    command += [pin, f"--essential-hook={initramfs}", SUITE, str(root), *sources(), *_kernel_sources(work)]
    _run(*command)
    venv = Path(f"{root}{VENV}")
    _run(PYTHON, "-m", "venv", str(venv))
    _run(str(venv / "bin/python"), "-m", "pip", "install", "--quiet", *dependencies())
    _run(str(venv / "bin/python"), "-m", "pip", "uninstall", "--quiet", "--yes", "pip", "setuptools")
    _configure(root)
    for name, found in (("vmlinuz", "boot/vmlinuz-*"), ("initrd", "boot/initrd.img-*")):
        shutil.move(next(root.glob(found)), image / name)
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(image / "disk.img"), SIZE)


def _configure(root: Path) -> None:
    units = root / "etc/systemd/system"
    for name, text in UNITS.items():
        (units / name).write_text("\n".join(line.strip() for line in text.strip().splitlines()) + "\n")
    for name in MASKED:
        (units / name).symlink_to("/dev/null")
    wants = units / "multi-user.target.wants"
    for name in ("vm-control.service", "systemd-networkd.service"):
        target = units / name if name in UNITS else Path("/lib/systemd/system") / name
        (wants / name).unlink(missing_ok=True)
        (wants / name).symlink_to(f"/{target.relative_to(root)}" if target.is_relative_to(root) else target)
    (root / "etc/systemd/network/eth0.network").write_text(NETWORK)
    (root / "etc/hostname").write_text("guest\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost guest\n::1 localhost\n")
    (root / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
    (root / "etc/machine-id").write_text("")
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    shutil.rmtree(root / "etc/apt/sources.list.d", ignore_errors=True)
    _run("chroot", str(root), "passwd", "--quiet", "--delete", "root")
    for user in ("alice", "bob"):  # alice lingers in some tests, bob never does
        _run("chroot", str(root), "useradd", "--create-home", "--shell", "/bin/bash", user)
    profile = root / "etc/profile.d/jobworker.sh"
    profile.write_text(f"PATH={VENV}/bin:$PATH\n")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        output = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise RuntimeError(f"{' '.join(command[:3])} … exited with {done.returncode}:\n{output}")
