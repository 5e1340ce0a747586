"""Find the local agent, and start it in the background if it does not run."""

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from jobworker import state_lock
from jobworker.client.endpoint import Endpoint
from jobworker.errors import ConnectionFailed, StartError
from jobworker.paths import Home, appendable

START_SECONDS = 120.0  # an emulated host, or one that starts all its services at once, takes half a minute
MARKER = "JOBWORKER_JOB_ID"  # a variable of jobs: what inherits it belongs to that job, which an agent never does
# Of pidfd_open if a process has ended. Older kernels (6.1): EINVAL if a process group or session has its number.
GONE = (errno.ESRCH, errno.EINVAL)
SERVICE_SECONDS = 180.0  # for systemctl: the previous agent may still be ending


def agent_pid(home: Home) -> int | None:
    """Return the pid of the agent on a state folder, which holds its lock; None if none runs. Raises StartError.

    0: it is in another pid namespace, as in another container with the same volume. An agent of another host, on a
    shared file system, is refused: its pid is another process here.
    """
    found = None
    content: dict[str, Any] = {}
    for fd in home.open_locks():
        if (pid := state_lock.holder(fd)) is not None:
            found = pid
            content = content or state_lock.read(fd)
        os.close(fd)
    if found is not None:
        state_lock.require_this_host(home.path, content)
    return found


def signal_agent(home: Home, number: signal.Signals) -> int | None:
    """Send a signal to the agent on a state folder; return its pid, None if no process of this user is the agent."""
    pid = agent_pid(home)
    if not pid:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise
    try:
        # Checked after pidfd_open: the process that holds the lock now is the one that gets the signal.
        if not state_lock.is_ours(pid) or agent_pid(home) != pid:
            return None
        signal.pidfd_send_signal(pidfd, number)
    except (FileNotFoundError, ProcessLookupError):
        return None
    finally:
        os.close(pidfd)
    return pid


def ensure_local_agent(home: Home, report: Callable[[str], None] = lambda text: None) -> Endpoint:
    """Return the endpoint of the local agent; start one first if none runs. Raises StartError."""
    home.create()
    if agent_pid(home) is None:
        with _starting(home):
            if agent_pid(home) is None:
                if await_service(home):
                    return local_endpoint(home)
                start_agent(home)
                report(f"started the local agent (pid {agent_pid(home)}, state in {home.path})")
    return local_endpoint(home)


def local_endpoint(home: Home) -> Endpoint:
    """Return the endpoint of the agent on this state folder; raise ConnectionFailed."""
    try:
        described = json.loads(home.address.read_bytes())
        if (path := described.get("socket")) and os.access(path, os.R_OK | os.W_OK):
            return Endpoint(f"unix://{path}")
        address = described["address"]
        token = home.local_token.read_text().strip()
    except FileNotFoundError:
        if (path := home.run_folder() / "agent.sock").is_socket():  # the file with the address was removed
            return Endpoint(f"unix://{path}")
        raise ConnectionFailed(f"no agent runs on {home.path}", hint="jw agent start") from None
    except PermissionError as error:
        raise ConnectionFailed(
            f"{error.filename} cannot be read: this agent belongs to another user",
            hint="set JOBWORKER_HOME to a folder of your own, or JW_ADDRESS and JW_TOKEN",
        ) from None
    ca = home.tls / "ca.pem"
    return Endpoint(address, token, ca if ca.exists() else None)


def port_address(home: Home) -> str:
    """Return the address of the local agent's port, for clients on other hosts as well."""
    return str(json.loads(home.address.read_bytes())["address"])


@contextlib.contextmanager
def _starting(home: Home) -> Iterator[None]:
    """Lock the state folder: one process at a time may start an agent."""
    lock = os.open(home.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise StartError(
                f"{home.path} cannot be locked: {error.strerror}; expected a file system with locks (flock)",
                hint="set JOBWORKER_HOME to a folder on a local disk",
            ) from None
        yield
    finally:
        os.close(lock)


def await_service(home: Home) -> bool:
    """Wait until systemd has started the service that the last agent was; return False if it was no service.

    Another agent would keep the service from starting. Raises StartError if the service was stopped.
    """
    try:
        unit, manager = json.loads(home.address.read_bytes())["unit"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    systemctl = ["systemctl", f"--{manager}", "--no-ask-password"]
    shown = _output([*systemctl, "show", "--property=LoadState,ActiveState,Job", unit])
    state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if state.get("LoadState") != "loaded":
        return False  # removed, or systemd does not run here
    hint = f"systemctl --{manager} start {unit}"
    if state.get("ActiveState") in ("inactive", "failed") and state.get("Job", "0") in ("", "0"):
        raise StartError(f"the agent on {home.path} is the service {unit}, which does not run", hint=hint)
    _output([*systemctl, "start", unit])  # waits for the start that systemd has queued
    if agent_pid(home) is None:
        raise StartError(f"the service {unit} does not start", hint=f"systemctl --{manager} status {unit}")
    return True


def _output(command: list[str]) -> str:
    """Return the output of a command; "" if it fails."""
    import subprocess  # slow to import, and seldom needed

    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=SERVICE_SECONDS).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def start_agent(home: Home) -> None:
    """Start an agent in the background and wait until it listens; raise StartError with the agent's reason."""
    reader, writer = os.pipe()
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        pid = os.posix_spawn(
            sys.executable,
            # -P: no module is imported from the folder that this process happens to be called in.
            [sys.executable, "-P", "-m", "jobworker", "--home", str(home.path), "--local", "--ready", "3"],
            {name: value for name, value in os.environ.items() if name != MARKER},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, writer, 3),
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, appendable(home.agent_log), append, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    finally:
        os.close(writer)
    with open(reader, "rb", buffering=0) as pipe:
        text = b""
        ended = False
        while not ended and select.select([pipe], [], [], START_SECONDS)[0]:
            more = pipe.read(4096)
            text += more
            ended = not more
            if text == b"ready\n":
                return
    reason, _, hint = text.decode(errors="replace").strip().partition("\nhint: ")
    if not text:
        os.kill(pid, signal.SIGTERM)
        happened = (
            "the agent ended before it served" if ended else f"the agent did not serve within {START_SECONDS:g} s"
        )
        reason, hint = happened, f"see {home.agent_log}"
    raise StartError(reason, hint=hint)


def wait_gone(pid: int, limit: float) -> bool:
    """Return whether the process is gone within `limit` seconds."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno in GONE:
            return True
        raise
    try:
        return bool(select.select([pidfd], [], [], limit)[0])
    finally:
        os.close(pidfd)
