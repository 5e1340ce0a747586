"""Ask systemd about the unit that we run in, and for a scope of our own: jobs in it outlive a restart of the unit.

systemd cannot start the main process of a service again while the service's own cgroup has controllers enabled and
jobs below it (before version 254, which has DelegateSubgroup=). So the jobs of a service get a scope beside it.
"""

import errno
import os
import select
import signal
import time

WAIT_SECONDS = 10.0  # for an answer of systemd
STOP_SECONDS = 10  # that jobs have at a shutdown of the host, between SIGTERM and SIGKILL
PROPERTIES = "Delegate,DelegateSubgroup,ControlGroup"
RUNS = "/run/systemd/system"  # there if systemd is the init of this host
HOLD = "cat /proc/self/cgroup && exec cat >/dev/null"  # keeps the scope until we are in it


def is_running() -> bool:
    """Whether systemd manages the cgroups of this host."""
    return os.path.isdir(RUNS)


def _tool(name: str, uid: int) -> tuple[list[str], dict[str, str]]:
    """Return command and environment to reach the system's manager for root, else the user's own."""
    if uid == 0:
        return [name], {"PATH": os.defpath}
    return [name, "--user"], {"PATH": os.defpath, "XDG_RUNTIME_DIR": f"/run/user/{uid}"}


def properties(unit: str, uid: int) -> dict[str, str]:
    """Return PROPERTIES of a unit, as far as systemd knows them; {} if it does not answer."""
    command, env = _tool("systemctl", uid)
    child = _Child([*command, "show", f"--property={PROPERTIES}", unit], env)
    try:
        return dict(line.split("=", 1) for line in child.read_all().splitlines() if "=" in line)
    finally:
        child.end()


class Scope:
    """A new scope with Delegate=yes; `path` is that of its cgroup. It lasts while a process is in it."""

    def __init__(self, name: str, description: str, uid: int, before: str = "") -> None:
        """Make it; raise OSError with what systemd answered. At a shutdown the unit `before` is stopped first."""
        command, env = _tool("systemd-run", uid)
        options = ["Delegate=yes", "TasksMax=infinity", f"TimeoutStopSec={STOP_SECONDS}"]
        options += [f"Before={before}"] if before else []
        command += ["--scope", "--quiet", "--collect", f"--unit={name}", f"--description={description}"]
        command += [word for option in options for word in ("-p", option)]
        self._holder = _Child([*command, "--", "sh", "-c", HOLD], env)
        lines = self._holder.read_until("\n0::", "0::").splitlines()
        self.path = next((line[3:] for line in lines if line.startswith("0::")), "")
        if not self.path:
            errors = self._holder.read_errors()
            self._holder.end()
            raise OSError(errno.EIO, f"systemd gave no scope: {errors or 'it did not answer'}")

    def release(self) -> None:
        """End the process that holds the scope, once another is in it."""
        self._holder.end()


class _Child:
    """A program with pipes to all three streams, read with a deadline."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self._end_at = time.monotonic() + WAIT_SECONDS
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        ends = [pipes[0][0], pipes[1][1], pipes[2][1]]
        self._stdin, self._out, self._err = pipes[0][1], pipes[1][0], pipes[2][0]
        try:
            self.pid = os.posix_spawnp(
                argv[0],
                argv,
                env,
                file_actions=[(os.POSIX_SPAWN_DUP2, end, fd) for fd, end in enumerate(ends)],
                setsigmask=[],
                setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGPIPE],
            )
        except OSError:
            self.pid = 0
            raise OSError(errno.ENOENT, f"{argv[0]} cannot be executed") from None
        finally:
            for end in ends:
                os.close(end)
            if not self.pid:
                self._close()

    def _read(self, fd: int) -> bytes:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        left = self._end_at - time.monotonic()
        return os.read(fd, 65536) if left > 0 and poll.poll(left * 1000) else b""

    def read_all(self) -> str:
        """Return the whole output, or what there was of it in time."""
        data = b""
        while more := self._read(self._out):
            data += more
        return data.decode(errors="replace")

    def read_until(self, *marks: str) -> str:
        """Return the output up to the end of the line that begins with the mark."""
        text = ""
        while more := self._read(self._out).decode(errors="replace"):
            text += more
            begun = [text.find(mark) for mark in marks if mark in text]
            if begun and "\n" in text[max(begun) + 1 :]:
                break
        return text

    def read_errors(self) -> str:
        """Return the last line on stderr."""
        lines = self._read(self._err).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _close(self) -> None:
        for fd in (self._stdin, self._out, self._err):
            os.close(fd)

    def end(self) -> None:
        """Close its pipes and wait for its end; kill it if that takes too long."""
        self._close()
        pidfd = os.pidfd_open(self.pid)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(max(0.0, self._end_at - time.monotonic()) * 1000):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
        os.waitpid(self.pid, 0)
