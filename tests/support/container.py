"""A container without an engine: namespaces, a root file system of its own, an agent as pid 1, `exec` into it."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.waiting import DEADLINE

import jobworker

JW = [sys.executable, "-m", "jobworker_cli"]
# What Docker leaves to root in a container.
CAPABILITIES = (
    "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod "
    "audit_write"
)
# $root becomes the root: the host's, read-only, with what an engine mounts over it. $base is the test's folder.
ROOT = """
set -eu
umask 022
mount --make-rprivate /
mount -o bind / "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=755 dev "$root/dev"
for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount -o bind "/dev/$name" "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777,size=64m shm "$root/dev/shm"
mount -t proc proc "$root/proc"
mount -o bind,ro /sys "$root/sys"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t tmpfs -o mode=755 volumes "$root/mnt"
mkdir "$root/mnt/state"
mount -o bind "$base/state" "$root/mnt/state"
"""
ENTER = """
cd "$root"
pivot_root . .
umount -l .
cd /
"""


def lacking() -> str:
    """Return why no container can be made here; empty if one can."""
    if os.geteuid() != 0:
        return "the containers of these tests are made by root"
    trial = "mount -t tmpfs none /mnt && command -v pivot_root setpriv nsenter"
    made = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-c", trial], capture_output=True, text=True, check=False
    )
    return f"no container can be made here: {made.stderr.strip()}" if made.returncode else ""


def _visible() -> str:
    """Return the commands that bind Python and the code into the root if a plain user cannot reach them."""
    code = Path(jobworker.__file__ or "").parents[2]
    needed = sorted({Path(place).resolve() for place in (sys.base_prefix, sys.prefix, code)})
    closed = {above for place in needed for above in place.parents if not above.stat().st_mode & 0o001}
    lines = [f'mount -t tmpfs -o mode=755 closed "$root{above}"' for above in sorted(closed)[:1]]
    for place in needed if closed else ():
        lines += [f'mkdir -p "$root{place}"', f'mount -o bind,ro "{place}" "$root{place}"']
    return "\n".join(lines)


@dataclass
class Container:
    """One container, whose first process is `jw agent run` unless `command` is something else.

    `uid` is the user in it. `mounts` is shell that changes $root before it is entered; `before` is shell that the
    first process runs before it executes the command as that user. The state folder is `home` in the container
    and `state` outside, where it outlives the container. `init`: a shell is the first process, and waits for it.
    """

    base: Path
    uid: int = 0
    env: dict[str, str] = field(default_factory=dict)
    mounts: str = ""
    before: str = ""
    command: list[str] = field(default_factory=lambda: [*JW, "agent", "run"])
    home: str = "/mnt/state"
    init: bool = False
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def output(self) -> str:
        """What the first process wrote."""
        return (self.base / "output").read_text()

    @property
    def state(self) -> Path:
        return self.base / "state"

    def _as_user(self, words: Sequence[str], env: dict[str, str]) -> list[str]:
        """Return the command that executes words as the container's user, with its environment and nothing else."""
        usual = {"PATH": "/usr/local/bin:/usr/bin:/bin", "JOBWORKER_HOME": self.home, "PYTHONDONTWRITEBYTECODE": "1"}
        variables = [f"{name}={value}" for name, value in (usual | self.env | env).items() if value]
        bound = ",".join(["-all", *(f"+{name}" for name in CAPABILITIES.split())])
        user = ["--reuid", str(self.uid), "--regid", str(self.uid), "--clear-groups"] if self.uid else []
        return ["setpriv", "--bounding-set", bound, "--inh-caps", "-all", *user, "env", "-i", *variables, *words]

    def start(self) -> None:
        """Start it; `listening` waits for its agent."""
        (self.base / "root").mkdir(exist_ok=True)
        if not self.state.exists():
            self.state.mkdir(0o700)
            (self.state / "config.toml").write_text("[server]\nport = 0\n")
            for path in (self.state, self.state / "config.toml"):
                os.chown(path, self.uid, self.uid)
        (self.state / "agent.json").unlink(missing_ok=True)
        lines = [f'root="{self.base}/root" base="{self.base}"', ROOT, _visible(), self.mounts, ENTER, self.before]
        words = shlex.join(self._as_user(self.command, {}))
        lines.append(f"{words} & trap 'kill $!' TERM\nwait $! || wait $!\n" if self.init else f"exec {words}")
        with open(self.base / "output", "wb") as log:
            self.process = subprocess.Popen(
                [
                    "unshare",
                    "--mount",
                    "--pid",
                    "--ipc",
                    "--cgroup",
                    "--fork",
                    "--kill-child",
                    "sh",
                    "-c",
                    "\n".join(lines),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """The first process, as the host numbers it."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text().split()[0])

    def commands(self, command: str) -> list[int]:
        """Return the processes in the container with this command line, as the host numbers them."""
        space = os.readlink(f"/proc/{self.pid}/ns/pid")
        wanted = command.replace(" ", "\0").encode() + b"\0"
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                same = os.readlink(f"/proc/{entry}/ns/pid") == space
                if same and Path(f"/proc/{entry}/cmdline").read_bytes() == wanted:
                    found.append(int(entry))
            except OSError:  # it has just ended
                continue
        return found

    def states(self) -> set[str]:
        """Return what states the processes in the container are in, as letters: Z is a zombie."""
        lines = self.exec("sh", "-c", "cat /proc/[0-9]*/stat").stdout.splitlines()
        return {line.rpartition(") ")[2][0] for line in lines}

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until something holds; fail if the first process ends before, with what it wrote."""
        assert self.process is not None
        end = time.monotonic() + DEADLINE
        while not holds():
            assert self.process.poll() is None, f"{what}: {self.output}"
            assert time.monotonic() < end, f"{what}: {self.output}"
            time.sleep(0.02)

    def entered(self) -> None:
        """Wait until the root is the container's."""
        self.until(lambda: self._there("/dev/full") and not self._there(str(self.base)), "the container is made")

    def listening(self) -> None:
        """Wait until the agent listens."""
        self.until(lambda: self._there(f"{self.home}/agent.json"), "the agent listens")

    def _there(self, path: str) -> bool:
        try:
            return os.path.exists(f"/proc/{self.pid}/root{path}")
        except (OSError, IndexError):  # there is no first process yet
            return False

    def exec(self, *words: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command in the container, as `docker exec` does."""
        inside = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--ipc", "--root", "--wd=/"]
        command = [*inside, *self._as_user(words, env or {})]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)

    def jw(self, *words: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        return self.exec(*JW, *words, env=env)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the first process a signal, as `docker stop` does, and return the container's exit code."""
        os.kill(self.pid, number)
        return self.ended()

    def ended(self) -> int:
        """Wait until it has ended and return its exit code."""
        assert self.process is not None
        return self.process.wait(DEADLINE)

    def clean(self) -> None:
        if self.process is not None:
            self.process.kill()  # and with it, by --kill-child, all that is in the container
            self.process.wait()
