"""Parent of every job: launch, signal and reap, and write the journal of starts and exits.

Started by the agent as ``python -I -S keeper.py STATE RUN`` with a listening seqpacket socket as
descriptor 3. One thread that never waits for a job, a log or the network; no log bytes, no plugins, no
keys. It outlives the agent: the next one connects to the same socket. One standard-library file,
nothing of ours is imported, so that an upgrade on disk cannot mix versions. Messages and journal are
described in ``agent/README.md``; this file owns their version number.
"""

import binascii
import ctypes
import errno
import fcntl
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

VERSION = 1
HANDED = "JOBWORKER_KEEPER"  # in the environment: the descriptor with what a keeper hands to its next version
MESSAGE = 262144
JOB_DESCRIPTORS = 5  # at most, in the pump: two pipes, two files, an index
DESCRIPTORS = 64  # of our own, and for a moment
LINGER = 60.0  # seconds without agent and job
RETRY = 0.2  # seconds between two attempts to write the journal
RESERVE = 1024  # bytes of the journal: more than all records of a job take
AHEAD = 65536  # bytes that are reserved at once
FALLOC_FL_KEEP_SIZE = 1
PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
CAPABILITY_VERSION_3 = 0x20080522
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
NAMESPACES = {"pid": CLONE_NEWPID | CLONE_NEWNS, "user+pid": CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS}
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_SLAVE = 2, 4, 8, 0x4000, 0x80000
MARKER = "JOBWORKER_JOB_ID"
PIDFD_GET_INFO = 3 << 30 | 64 << 16 | 0xFF << 8 | 11  # ioctl, Linux 6.15: the status of a process not our child
PIDFD_INFO_EXIT = 1 << 3
encode = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps makes an encoder at each call
LIBC = ctypes.CDLL(None, use_errno=True)
ALL_SIGNALS = [s for s in signal.valid_signals() if s not in (signal.SIGKILL, signal.SIGSTOP)]
CHANGES = ("user", "umask", "nice", "rlimits")  # of a launch: what posix_spawn cannot do
UNTOLD = b'{"step":"setup","errno":12}'  # of a child without the memory to say more


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def own_code() -> int:
    """Return a checksum of this file, by which an agent sees that it comes with another version."""
    with open(__file__, "rb") as file:
        return binascii.crc32(file.read())


def stat_of(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name: [0] is the state, [19] the start in ticks."""
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)  # twice a job: open() makes it three times as long
    try:
        return os.read(fd, 4096).rpartition(b")")[2].decode().split()
    finally:
        os.close(fd)


def is_alive(pid: int) -> bool:
    try:
        fields = stat_of(pid)
    except OSError:
        return False
    return fields[0] not in "ZX" or (fields[0] == "Z" and int(fields[17]) > 1)  # only its first thread has ended


def status_of(pidfd: int) -> tuple[int | None, int | None] | None:
    """Return code or signal of a process that is gone and was not our child, where the kernel tells."""
    info = bytearray(struct.pack("Q56x", PIDFD_INFO_EXIT))
    try:
        fcntl.ioctl(pidfd, PIDFD_GET_INFO, info)
    except OSError:
        return None
    if not struct.unpack_from("Q", info)[0] & PIDFD_INFO_EXIT:
        return None
    status = struct.unpack_from("i", info, 60)[0]
    return (None, os.WTERMSIG(status)) if os.WIFSIGNALED(status) else (os.WEXITSTATUS(status), None)


class Journal:
    """Append-only JSON lines; a record is there whole or not at all."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(self.fd).st_size
        tail = os.pread(self.fd, 65536, max(0, size - 65536))
        self.size = self.reserved = size - len(tail) + tail.rfind(b"\n") + 1
        if self.size < size:  # a torn write
            os.ftruncate(self.fd, self.size)
        self.owed: deque[bytes] = deque()  # records of what happened while the disk was full

    def reserve(self, jobs: int) -> None:
        """Have the disk keep room for all that can happen to so many jobs; raise OSError where it has none."""
        missing = self.size + jobs * RESERVE - self.reserved
        if missing <= 0:
            return
        length = max(missing, AHEAD)
        if LIBC.fallocate(self.fd, FALLOC_FL_KEEP_SIZE, ctypes.c_int64(self.reserved), ctypes.c_int64(length)):
            code = ctypes.get_errno()
            if code not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise OSError(code, os.strerror(code))
        self.reserved += length

    def append(self, record: dict[str, Any]) -> None:
        """Write one record, or raise OSError and leave the file as it was."""
        self.settle()
        self._write(self._line(record))

    def note(self, record: dict[str, Any]) -> None:
        """Write a record of what has happened already: where the disk is full, as soon as it can be."""
        self.owed.append(self._line(record))
        try:
            self.settle()
        except OSError:
            pass

    def settle(self) -> None:
        while self.owed:
            self._write(self.owed[0])
            self.owed.popleft()

    def _line(self, record: dict[str, Any]) -> bytes:
        return encode({**record, "at": time.time_ns()}).encode() + b"\n"

    def _write(self, line: bytes) -> None:
        if os.pwrite(self.fd, line, self.size) != len(line):
            os.ftruncate(self.fd, self.size)
            self.reserved = self.size
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size += len(line)


class Cgroups:
    """A cgroup v2 per job, where this process may make them; elsewhere `root` is empty."""

    def __init__(self, name: str) -> None:
        self.root = ""  # as a folder
        self.path = ""  # as in /proc/PID/cgroup
        self.home = -1
        mount = self._mount()
        if not mount:
            return
        own = group_of("self").partition("/jobworker-")[0]  # started by another agent's job: not in its group
        base = mount + own.rstrip("/")
        root = f"{base}/jobworker-{name}"
        try:
            self.home = os.open(f"{base}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            os.makedirs(f"{root}/probe", exist_ok=True)
            self.enter(f"{root}/probe")
            self.leave()
            os.rmdir(f"{root}/probe")
            if not os.path.exists(f"{root}/cgroup.kill"):
                raise OSError(errno.ENOSYS, "the kernel has no cgroup.kill")
            self.root, self.path = root, f"{own.rstrip('/')}/jobworker-{name}"
        except OSError as error:
            print(f"jobs get no cgroup of their own under {base}: {error}", file=sys.stderr, flush=True)

    @staticmethod
    def _mount() -> str:
        with open("/proc/self/mountinfo") as file:
            for line in file:
                fields, _, rest = line.partition(" - ")
                if rest.startswith("cgroup2 "):
                    return fields.split()[4]
        return ""

    @staticmethod
    def enter(group: str) -> None:
        fd = os.open(f"{group}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"0")
        finally:
            os.close(fd)

    def leave(self) -> None:
        os.write(self.home, b"0")

    def remove(self) -> None:
        if self.root:
            try:
                os.rmdir(self.root)
            except OSError:
                pass


def group_of(pid: object) -> str:
    with open(f"/proc/{pid}/cgroup") as file:
        return next((line[3:].strip() for line in file if line.startswith("0::")), "")


LIMIT_FILES = {  # by kind: what is written in v2 and in v1, in order
    "memory": (("memory.max", "memory.swap.max"), ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")),
    "pids": (("pids.max",), ("pids.max",)),
    "cpus": (("cpu.max",), ("cpu.cfs_quota_us",)),
}
NO_LIMIT = {"memory": ("max", "-1"), "pids": ("max", "max"), "cpus": ("max", "-1")}
CPU_PERIOD = 100000  # us, in which a quota holds


class Limits:
    """What a job may use at most, by the controllers of cgroup v2 in its own cgroup, or of v1 in groups beside it."""

    def __init__(self, cgroups: Cgroups, name: str) -> None:
        self.roots: dict[str, str] = {}  # by kind: where the jobs' groups are
        self.homes: dict[str, int] = {}  # of v1: where this process belongs
        self.cgroups = cgroups
        for kind in LIMIT_FILES:
            controller = "cpu" if kind == "cpus" else kind
            if cgroups.root and self._enable(controller):
                self.roots[kind] = cgroups.root
            else:
                self._find_v1(kind, controller, name)

    def _enable(self, controller: str) -> bool:
        """Whether the jobs' own cgroups have the controller, once it has been asked for."""
        for folder in (os.path.dirname(self.cgroups.root), self.cgroups.root):
            try:
                with open(f"{folder}/cgroup.subtree_control", "wb", buffering=0) as file:
                    file.write(f"+{controller}".encode())
            except OSError:
                return False
        return True

    def _find_v1(self, kind: str, controller: str, name: str) -> None:
        base = v1_folder(controller)
        if not base:
            return
        root = f"{base}/jobworker-{name}"
        try:
            home = os.open(f"{base}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            os.makedirs(f"{root}/probe", exist_ok=True)
            Cgroups.enter(f"{root}/probe")
            os.write(home, b"0")
            os.rmdir(f"{root}/probe")
        except OSError as error:
            print(f"jobs get no limit of {kind} under {base}: {error}", file=sys.stderr, flush=True)
            return
        self.roots[kind], self.homes[kind] = root, home

    def prepare(self, job: str, limits: dict[str, Any]) -> None:
        """Make the job's groups and see that the kernel takes the values, which do not hold yet."""
        for kind in limits:
            if kind in self.homes:
                os.makedirs(f"{self.roots[kind]}/{job}", exist_ok=True)
        self.apply(job, limits)
        for kind in limits:
            v1 = kind in self.homes
            for name in reversed(LIMIT_FILES[kind][v1]):
                self._write(f"{self.roots[kind]}/{job}/{name}", NO_LIMIT[kind][v1])

    def apply(self, job: str, limits: dict[str, Any], *, more: int = 0) -> None:
        """Have the limits hold; `more` processes of ours are among the job's. Raise OSError, or KeyError."""
        for kind, value in limits.items():
            v1 = kind in self.homes
            texts = [str(value)] * 2
            if kind == "pids":
                texts = [str(value + more)]
            elif kind == "cpus":
                quota = str(int(value * CPU_PERIOD))
                texts = [quota if v1 else f"{quota} {CPU_PERIOD}"]
            elif not v1:
                texts = [str(value), "0"]
            for name, text in zip(LIMIT_FILES[kind][v1], texts, strict=True):
                self._write(f"{self.roots[kind]}/{job}/{name}", text)

    @staticmethod
    def _write(path: str, text: str) -> None:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if os.path.basename(path) in ("memory.swap.max", "memory.memsw.limit_in_bytes"):
                return  # a kernel that does not count swap
            raise
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def enter(self, job: str, limits: dict[str, Any]) -> None:
        for kind in limits:
            if kind in self.homes:
                Cgroups.enter(f"{self.roots[kind]}/{job}")

    def leave(self, limits: dict[str, Any]) -> None:
        for kind in limits:
            if kind in self.homes:
                os.write(self.homes[kind], b"0")

    def killed(self, job: str) -> bool:
        """Whether the kernel has killed a process of the job because its memory was at the limit."""
        name = "memory.oom_control" if "memory" in self.homes else "memory.events"
        try:
            with open(f"{self.roots.get('memory')}/{job}/{name}") as file:
                return any(line.split()[0] == "oom_kill" and int(line.split()[1]) > 0 for line in file)
        except OSError:
            return False

    def remove(self, job: str) -> None:
        for kind in self.homes:
            try:
                os.rmdir(f"{self.roots[kind]}/{job}")
            except OSError:
                continue

    def remove_all(self) -> None:
        for kind in self.homes:
            try:
                os.rmdir(self.roots[kind])
            except OSError:
                continue


def v1_folder(controller: str) -> str:
    """Return the folder of our own group under a controller of cgroup v1; "" where it is not there."""
    with open("/proc/self/cgroup") as file:
        lines = [line.strip().split(":", 2) for line in file]
    own = next((path for _, names, path in lines if controller in names.split(",")), "")
    own = own.partition("/jobworker-")[0]  # started by another agent's job: not in its group
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            root, mount = fields.split()[3:5]
            if rest.startswith("cgroup ") and controller in rest.split()[2].split(","):
                return mount + own.removeprefix(root.rstrip("/")).rstrip("/")
    return ""


class Job:
    """One launched job, from its FIFOs to the last of exit and end of output."""

    def __init__(self, job: str, fifo: str, message: dict[str, Any]) -> None:
        self.id = job
        self.drop = message.get("drop", False)  # output for which the disk has no room
        self.max = message.get("max", 0)  # bytes that the log may hold; 0: no bound
        self.keep = message.get("keep", "newest")  # which of them
        self.truncated = False  # output was dropped or refused
        streams = ("out",) if message.get("merge") else ("out", "err")
        self.names = [f"{fifo}/{job}.{stream}" for stream in streams]
        self.pipes: list[int] = []
        self.pid = 0
        self.pidfd = -1  # of a job that another keeper launched: not our child
        self.init = 0  # pid 1 of the job's namespace, where it has one
        self.init_start = 0
        self.oom = False  # it had used more than its limit before that could hold
        self.struck = False  # a signal of ours reached the main process alive
        self.ended = False
        self.closed = False
        self.unheld = False  # it had ended when we took it over: its pipes held on only if a pump held them

    def open_pipes(self) -> None:
        for name in self.names:
            os.mkfifo(name)
            # A job that changes its user opens /dev/stderr anew; by name nobody else gets here.
            os.chmod(name, 0o622)  # noqa: S103
            self.pipes.append(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))

    def inherit(self, inherit: bool) -> None:
        """Let this process's next image have the descriptors, or not."""
        for fd in (*self.pipes, self.pidfd):
            if fd >= 0:
                os.set_inheritable(fd, inherit)

    def reopen_pipes(self) -> None:
        """Open the FIFOs of a job that another keeper launched."""
        for name in self.names:
            self.pipes.append(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            # Where the last writer is gone already, only one that came after us makes the end visible.
            os.close(os.open(name, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))

    def close_pipes(self) -> None:
        for fd in self.pipes:
            os.close(fd)
        self.pipes = []
        for name in self.names:
            try:
                os.unlink(name)
            except OSError:
                pass


class LaunchError(Exception):
    """A launch that failed, with the step and the errno that the journal names."""

    def __init__(self, step: str, error: OSError) -> None:
        super().__init__(step, error)
        self.step = step
        self.errno = error.errno or errno.EINVAL


def find_program(name: str, path: str) -> str:
    """Return the file to execute; `path` is the job's own PATH, the current folder the job's."""
    if "/" in name:
        return name
    refused = errno.ENOENT
    for folder in path.split(":"):
        file = os.path.join(folder or ".", name)
        if os.path.isfile(file):
            if os.access(file, os.X_OK):
                return file
            refused = errno.EACCES
    raise OSError(refused, os.strerror(refused), name)


def spawn(message: dict[str, Any], names: list[str], nofile: tuple[int, int]) -> int:
    """Start the program in a new session with nothing open but 0, 1 and 2; raise LaunchError.

    With one name, 2 is the same as 1.
    """
    if any(message.get(change) is not None for change in CHANGES):
        return spawn_changed(message, names, nofile)
    try:
        argv, env, cwd = message["argv"], message["env"], message["cwd"]
        os.chdir(cwd)
    except OSError as error:
        raise LaunchError("cwd", error) from error
    except (ValueError, TypeError, KeyError) as error:
        raise LaunchError("setup", OSError(errno.EINVAL, repr(error))) from error
    mine = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        program = find_program(argv[0], env.get("PATH", os.defpath))
        resource.setrlimit(resource.RLIMIT_NOFILE, nofile)
        # The job opens its FIFOs O_RDWR: it blocks while nobody reads, where O_WRONLY would die of SIGPIPE.
        return os.posix_spawn(
            program,
            argv,
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, names[0], os.O_RDWR, 0),
                (os.POSIX_SPAWN_OPEN, 2, names[1], os.O_RDWR, 0) if names[1:] else (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=ALL_SIGNALS,
        )
    except OSError as error:
        # One errno for all that posix_spawn does: no process or memory to be had is not the program's fault.
        setup = error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
        raise LaunchError("setup" if setup else "exec", error) from error
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise LaunchError("setup", OSError(errno.EINVAL, repr(error))) from error
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, mine)
        os.chdir("/")


# Another user, umask, niceness or resource limits


def spawn_changed(message: dict[str, Any], names: list[str], nofile: tuple[int, int]) -> int:
    """Do as `spawn` does, by a real fork: the child changes itself before it executes the program."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, "rb") as pipe:
        try:
            child = os.fork()
            if child == 0:
                refused = UNTOLD
                try:
                    become(message, names, nofile, writer)
                except LaunchError as error:
                    refused = encode({"step": error.step, "errno": error.errno}).encode()
                finally:
                    os.write(writer, refused)
                    os._exit(1)
        except OSError as error:
            raise LaunchError("setup", error) from error
        finally:
            os.close(writer)
        said = pipe.read()  # nothing where execve has succeeded
    if not said:
        return child
    os.waitpid(child, 0)
    told = json.loads(said)
    raise LaunchError(told["step"], OSError(told["errno"], os.strerror(told["errno"])))


def become(message: dict[str, Any], names: list[str], nofile: tuple[int, int], report: int) -> None:
    """Turn this child into the job; return only by LaunchError. What it may not do any more, it does first."""
    step = "setup"
    try:
        os.setsid()
        reset_signals()
        open_streams(names, report)
        if message.get("umask") is not None:
            os.umask(message["umask"])
        if message.get("nice") is not None:
            os.setpriority(os.PRIO_PROCESS, 0, message["nice"])
        resource.setrlimit(resource.RLIMIT_NOFILE, nofile)
        for name, limit in (message.get("rlimits") or {}).items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), tuple(limit))
        step = "user"
        if message.get("user"):
            change_user(**message["user"])
        step = "cwd"
        os.chdir(message["cwd"])
        step = "exec"
        argv, env = message["argv"], message["env"]
        os.execve(find_program(argv[0], env.get("PATH", os.defpath)), argv, env)
    except OSError as error:
        short = step == "exec" and error.errno in (errno.EAGAIN, errno.ENOMEM)
        raise LaunchError("setup" if short else step, error) from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise LaunchError("setup", OSError(errno.EINVAL, repr(error))) from error


def reset_signals() -> None:
    """Have all signals do what they do by default, and none be blocked."""
    signal.set_wakeup_fd(-1)
    for number in ALL_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def open_streams(names: list[str], report: int) -> None:
    """Have 0, 1 and 2 open, by names that nobody but us gets at, and besides them only `report`."""
    streams = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)]
    streams += [os.open(name, os.O_RDWR | os.O_CLOEXEC) for name in names]
    for fd, stream in enumerate([*streams, streams[-1]][:3]):
        os.dup2(stream, fd)
    os.closerange(3, report)
    os.closerange(report + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def change_user(uid: int, gid: int, groups: list[int]) -> None:
    """Become this user for good: with none of our groups and, but for root, without capabilities, now or later."""
    if uid:
        drop_bounding_set()
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise OSError(errno.EINVAL, f"{uid}:{gid} is not what a process can be")  # -1 changes nothing
    if uid:
        drop_capabilities()


def drop_bounding_set() -> None:
    capability = 0
    while not LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
        capability += 1
    if ctypes.get_errno() != errno.EINVAL:  # the first that the kernel does not know
        raise OSError(ctypes.get_errno(), "prctl(PR_CAPBSET_DROP)")


def drop_capabilities() -> None:
    """Have none, whatever the securebits left, and get none by executing a program that would give some."""
    head = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    for name, failed in (
        ("prctl(PR_CAP_AMBIENT)", LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)),
        ("capset", LIBC.capset(head, bytes(24))),
        ("prctl(PR_SET_NO_NEW_PRIVS)", LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)),
    ):
        if failed:
            raise OSError(ctypes.get_errno(), name)


# A namespace per job


def in_child(work: Callable[[int], None]) -> bytes:
    """Do something in a fork of this process; return what it wrote to its descriptor, when it is gone."""
    keeper = os.getpid()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, "rb") as pipe:
        try:
            child = os.fork()
            if child == 0:
                try:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would lose the status of its children
                    die_with(keeper)
                    work(writer)
                finally:
                    os._exit(0)
        finally:
            os.close(writer)
        said = pipe.read()
    os.waitpid(child, 0)  # when it can be, its children have become ours
    return said


def die_with(parent: int) -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def enter_namespace(kind: str) -> None:
    """Have the children of this process born into a pid namespace; the first of them is its init."""
    uid, gid = os.geteuid(), os.getegid()
    ids = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
    if LIBC.unshare(NAMESPACES[kind]):
        raise OSError(ctypes.get_errno(), f"unshare: {os.strerror(ctypes.get_errno())}")
    for name, text in ids.items() if kind == "user+pid" else ():
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, text.encode())
        os.close(fd)


def find_namespace() -> tuple[str, str]:
    """Return the kind of namespace that a job can have here, or "" and why it can have none."""

    def attempt(kind: str, report: int) -> None:
        try:
            enter_namespace(kind)
            init = os.fork()
            if init == 0:
                os._exit(0)
            os.waitpid(init, 0)
            os.write(report, b"yes")
        except OSError as error:
            os.write(report, str(error.strerror).encode())

    refused = ""
    for kind in NAMESPACES:
        try:
            refused = in_child(lambda report, kind=kind: attempt(kind, report)).decode()  # type: ignore[misc]
        except OSError as error:
            refused = str(error.strerror)
        if refused == "yes":
            return kind, ""
    return "", refused or "the attempt died"


def spawn_in_namespace(
    kind: str, message: dict[str, Any], names: list[str], nofile: tuple[int, int]
) -> tuple[int, int]:
    """Start the program in a pid namespace of its own; return the pids of its init and of it.

    A helper enters the namespace, starts both and leaves: as it is in the keeper's namespace itself, both
    become children of the keeper, the nearest subreaper. What is orphaned inside goes to the init.
    """
    told: dict[str, Any] = {"step": "setup", "errno": errno.ECANCELED}  # where it dies before it can say
    try:
        for line in in_child(lambda report: populate(kind, message, names, nofile, report)).splitlines():
            told |= json.loads(line)
    except OSError as error:
        raise LaunchError("setup", error) from error
    if "pid" in told:
        return told["init"], told["pid"]
    if "init" in told:
        os.kill(told["init"], signal.SIGKILL)
        os.waitpid(told["init"], 0)
    raise LaunchError(told["step"], OSError(told["errno"], os.strerror(told["errno"])))


def populate(kind: str, message: dict[str, Any], names: list[str], nofile: tuple[int, int], report: int) -> None:
    """Start the init of a namespace and the program, and report their pids, or the step that failed."""
    keeper = os.getppid()
    try:
        enter_namespace(kind)
        die_with(keeper)  # again: what changes the credentials may have undone it
        os.write(report, encode({"init": start_init(message["id"])}).encode() + b"\n")
        os.write(report, encode({"pid": spawn(message, names, nofile)}).encode())
    except LaunchError as error:
        os.write(report, encode({"step": error.step, "errno": error.errno}).encode())
    except OSError as error:
        os.write(report, encode({"step": "setup", "errno": error.errno}).encode())


def start_init(job: str) -> int:
    """Start pid 1 of the namespace, whose end is the end of all in it; return its pid."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, "rb") as pipe:
        init = os.fork()
        if init == 0:
            try:
                become_init(job)
            except OSError as error:
                os.write(writer, str(error.errno).encode())
            finally:
                os._exit(1)
        os.close(writer)
        refused = pipe.read()
    if refused:
        raise OSError(int(refused), os.strerror(int(refused)))
    return init


def become_init(job: str) -> None:
    """Give the namespace a /proc of its own, where that is allowed, and sleep: no signal but SIGKILL is heard."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # outlives execve: the kernel reaps its children
    # Mounts are heard of from the host, and not told to it: else this /proc would become the host's.
    if not LIBC.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_SLAVE), None):
        LIBC.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(MS_NOSUID | MS_NODEV | MS_NOEXEC), None)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.execve(find_program("sleep", os.defpath), ["sleep", "2147483647"], {MARKER: job})


class Keeper:
    """The loop: one connection to an agent, one to a pump, and the children."""

    def __init__(self, listener: socket.socket, lock: int, state: str, run: str) -> None:
        self.code = own_code()
        self.lock = lock
        self.state = state
        self.run_folder = run
        self.listener = listener
        self.agent: socket.socket | None = None
        self.pump: socket.socket | None = None
        self.pump_pid = 0
        self.splices = True
        self.punches = True
        self.journal = Journal(f"{state}/journal")
        self.held_up = False  # the agent's socket is full
        self.told = (0, 0)  # the size of the journal and the pid of the pump, as the agent knows them
        self.answers: list[dict[str, Any]] = []
        self.jobs: dict[str, Job] = {}
        self.pids: dict[int, Job] = {}
        self.adopted: dict[int, Job] = {}  # by pidfd
        self.unwatched: deque[str] = deque()  # jobs the pump does not have yet
        self.forgotten: deque[str] = deque()  # jobs the pump has in vain
        self.held: set[str] = set()  # jobs that the pump had before it met us
        self.owing = False  # an end that the journal did not take
        self.quitting = False
        self.alone_since = time.monotonic()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.nofile = (soft, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.room = (hard - DESCRIPTORS) // JOB_DESCRIPTORS  # jobs that keeper and pump can hold
        self.fifo = f"{run}/fifo"
        os.makedirs(self.fifo, 0o700, exist_ok=True)
        self.cgroups = Cgroups(os.path.basename(run).removeprefix("jobworker-"))
        self.limits = Limits(self.cgroups, os.path.basename(run).removeprefix("jobworker-"))
        self.namespace, self.no_namespace = find_namespace()
        self.inits: dict[int, str] = {}  # the jobs of our children that are the init of a namespace
        self.ending: set[int] = set()  # those that have been killed and are not gone yet
        self.epoll = select.epoll()
        self.epoll.register(listener, select.EPOLLIN)
        self.wakeup, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self.epoll.register(self.wakeup, select.EPOLLIN)
        self.journal.note({"event": "opened", "v": VERSION, "pid": os.getpid(), "boot": boot_id()})
        self.pump_tried = 0.0

    def begin(self) -> None:
        if not self.join_pump():
            self.mend_pump()

    # The loop

    def run(self) -> None:
        while not self.may_leave():
            for fd, _ in self.epoll.poll(self.patience()):
                if fd == self.wakeup:
                    os.read(fd, 4096)
                elif self.agent and fd == self.agent.fileno():
                    self.hear_agent()
                elif self.pump and fd == self.pump.fileno():
                    self.hear_pump()
                elif fd == self.listener.fileno():
                    self.accept()
                elif fd in self.adopted:
                    self.end_adopted(self.adopted[fd], status_of(fd))
            self.reap()
            self.mend_pump()
            self.hand_over()
            self.answer()
        for name in ("keeper.sock", "pump.sock"):
            os.unlink(f"{self.run_folder}/{name}")
        self.limits.remove_all()
        self.cgroups.remove()

    def may_leave(self) -> bool:
        if self.jobs or self.journal.owed or self.ending:
            return False
        if self.quitting:
            return True
        return self.agent is None and time.monotonic() - self.alone_since >= LINGER

    def patience(self) -> float:
        if self.journal.owed or self.owing or self.pump is None:
            return RETRY
        if self.agent is None and not self.jobs:
            return max(0.0, self.alone_since + LINGER - time.monotonic())
        return -1

    # The agent

    def accept(self) -> None:
        """Take the next agent; while there is one, the others wait in the backlog."""
        self.agent, _ = self.listener.accept()
        self.agent.setblocking(False)
        self.epoll.unregister(self.listener)
        self.epoll.register(self.agent, select.EPOLLIN)
        self.held_up = False
        self.told = (0, 0)

    def hear_agent(self) -> None:
        assert self.agent is not None
        for _ in range(32):
            try:
                data, fds, _, _ = socket.recv_fds(self.agent, MESSAGE, 1)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # it died with answers unread: what it asked before is still to come
            except OSError:
                data, fds = b"", []
            if not data:
                self.epoll.unregister(self.agent)
                self.agent.close()
                self.agent = None
                self.answers = []
                self.alone_since = time.monotonic()
                self.epoll.register(self.listener, select.EPOLLIN)
                return
            for fd in fds:  # too large for a message: it came as a file in memory
                with open(fd, "rb") as file:
                    data = file.read()
            self.obey(data)

    def obey(self, data: bytes) -> None:
        answer: dict[str, Any] = {"re": None}
        try:
            message = json.loads(data)
            answer["re"] = message.get("re")
            operation = getattr(self, f"op_{message['op']}", None)
            if operation is None:
                raise OSError(errno.ENOSYS, f"this keeper knows no {message['op']!r}")
            answer |= operation(message) or {}
        except OSError as error:
            answer |= {"error": (error.strerror or str(error))[:500], "errno": error.errno}
        except Exception as error:
            traceback.print_exc()
            answer |= {"error": repr(error)[:500], "errno": errno.EPROTO}
        self.answers.append(answer)

    def answer(self) -> None:
        """Send what is to be said: the journal's size, then the answers of this turn."""
        news = (self.journal.size, self.pump_pid)
        if self.agent is None or (news == self.told and not self.answers):
            return
        message = encode({"journal": news[0], "pump": news[1], "answers": self.answers[:256]})
        try:
            self.agent.send(message.encode())
        except BlockingIOError:
            self.held_up = True
            self.epoll.modify(self.agent, select.EPOLLIN | select.EPOLLOUT)
            return
        except OSError:
            return  # hear_agent() will see that it is gone
        if self.held_up:
            self.held_up = False
            self.epoll.modify(self.agent, select.EPOLLIN)
        self.told = news
        del self.answers[:256]
        if self.answers:
            self.answer()

    def op_hello(self, message: dict[str, Any]) -> dict[str, Any]:
        return {
            "v": VERSION,
            "code": self.code,
            "pid": os.getpid(),
            "boot": boot_id(),
            "pump": self.pump_pid,
            "splice": self.splices,
            "punch": self.punches,
            "cgroup": self.cgroups.root,
            "limits": list(self.limits.roots),
            "namespace": self.namespace,
            "no_namespace": self.no_namespace,
            "users": "agent" if os.geteuid() else "any",
        }

    def op_quit(self, message: dict[str, Any]) -> None:
        """Leave at once, or as soon as the last job has ended."""
        self.quitting = True

    # Upgrading

    def op_upgrade(self, message: dict[str, Any]) -> None:
        """Execute the next version in place: it keeps the pid, and so the children, and all descriptors."""
        assert self.agent is not None
        memory = os.memfd_create("keeper", 0)
        kept = [self.listener.fileno(), self.agent.fileno(), self.lock]
        handed = {
            "v": VERSION,
            "listener": kept[0],
            "agent": kept[1],
            "lock": self.lock,
            "nofile": self.nofile,
            "pump": self.pump_pid,
            "quitting": self.quitting,
            "inits": list(self.inits.items()),
            "ending": list(self.ending),
            "owed": [record.decode() for record in self.journal.owed],
            "answers": [*self.answers, {"re": message["re"]}],
            "jobs": [vars(job) for job in self.jobs.values()],
        }
        with open(os.dup(memory), "w") as file:
            file.write(encode(handed))
        try:
            for fd in kept:
                os.set_inheritable(fd, True)
            for job in self.jobs.values():
                job.inherit(True)
            os.execve(message["command"][0], message["command"], {**os.environ, HANDED: str(memory)})
        finally:  # it failed: on as before
            os.close(memory)
            for fd in kept:
                os.set_inheritable(fd, False)
            for job in self.jobs.values():
                job.inherit(False)

    def take_over(self, handed: dict[str, Any]) -> None:
        """Go on where the version before stopped; the pump is started anew, in its new version too."""
        if handed["pump"]:
            os.kill(handed["pump"], signal.SIGKILL)
        self.nofile = tuple(handed["nofile"])
        self.quitting = handed["quitting"]
        self.inits = dict(handed.get("inits", []))
        self.ending = set(handed.get("ending", []))
        self.journal.owed.extendleft(record.encode() for record in reversed(handed["owed"]))
        for known in handed["jobs"]:
            job = self.jobs[known["id"]] = Job(known["id"], self.fifo, {})
            vars(job).update(known)
            job.inherit(False)
            if job.pidfd >= 0:
                self.adopted[job.pidfd] = job
                self.epoll.register(job.pidfd, 0)
            elif not job.ended:
                self.pids[job.pid] = job
        self.agent = socket.socket(fileno=handed["agent"])
        self.agent.setblocking(False)
        self.agent.set_inheritable(False)
        self.epoll.unregister(self.listener)
        self.epoll.register(self.agent, select.EPOLLIN)
        self.answers = handed["answers"]
        self.mend_pump()
        self.reap()
        self.answer()

    # Launching

    def op_launch(self, message: dict[str, Any]) -> None:
        """Launch a job; the journal tells how that went.

        Raise OSError where the journal cannot be written: then nothing was started.
        """
        job = Job(message["id"], self.fifo, message)
        if job.id in self.jobs:
            raise OSError(errno.EEXIST, "launched before")
        if len(self.jobs) >= self.room:
            raise OSError(errno.EMFILE, f"{len(self.jobs)} jobs are as many as the limit of open files allows")
        self.quitting = False
        group = f"{self.cgroups.root}/{job.id}" if self.cgroups.root else ""
        self.journal.reserve(len(self.jobs) + 1)
        inside = bool(message.get("namespace"))
        self.journal.append({"event": "launching", "id": job.id, "group": group, "namespace": inside})
        self.jobs[job.id] = job
        try:
            self.begin_process(job, message, group)
        except LaunchError as error:
            self.give_up(job)
            self.journal.note({"event": "start_failed", "id": job.id, "step": error.step, "errno": error.errno})
            return
        self.pids[job.pid] = job
        if job.init:
            self.inits[job.init] = job.id
            job.init_start = int(stat_of(job.init)[19])
        self.journal.note(
            {
                "event": "started",
                "id": job.id,
                "pid": job.pid,
                "start": int(stat_of(job.pid)[19]),
                "boottime": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                "init": job.init,
                "init_start": job.init_start,
            }
        )

    def begin_process(self, job: Job, message: dict[str, Any], group: str) -> None:
        """Start the job's process, born in its groups and its namespace; raise LaunchError."""
        limits = message.get("limits") or {}
        try:
            job.open_pipes()
            self.unwatched.append(job.id)
            self.hand_over()
            if group:
                os.mkdir(group, 0o755)
            self.limits.prepare(job.id, limits)
        except (OSError, KeyError) as error:
            raise LaunchError("setup", error if isinstance(error, OSError) else OSError(errno.ENOSYS)) from error
        try:
            try:
                if group:
                    self.cgroups.enter(group)
                self.limits.enter(job.id, limits)
            except OSError as error:
                raise LaunchError("setup", error) from error
            if message.get("namespace"):
                job.init, job.pid = spawn_in_namespace(self.namespace, message, job.names, self.nofile)
            else:
                job.pid = spawn(message, job.names, self.nofile)
        finally:
            self.limits.leave(limits)
            if group:
                self.cgroups.leave()
        try:  # only now: they are not for us, and who reaches one is killed
            self.limits.apply(job.id, limits, more=1 if job.init else 0)
        except OSError:  # it has more memory already
            os.kill(job.pid, signal.SIGKILL)
            job.oom = True

    def give_up(self, job: Job) -> None:
        self.remove_group(job.id)
        if job.id in self.unwatched:
            self.unwatched.remove(job.id)
        else:
            self.forgotten.append(job.id)
            self.hand_over()
        job.close_pipes()
        del self.jobs[job.id]

    def remove_group(self, job: str) -> bool:
        """Remove the job's groups; return whether its cgroup is gone, which it cannot be before its last process."""
        self.limits.remove(job)
        if not self.cgroups.root:
            return True
        try:
            os.rmdir(f"{self.cgroups.root}/{job}")  # as a rule there is nothing in it
            return True
        except OSError:
            pass
        for folder, _, _ in os.walk(f"{self.cgroups.root}/{job}", topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                return False
        return True

    # Adopting

    def op_adopt(self, message: dict[str, Any]) -> dict[str, Any]:
        """Take over a job that another keeper launched: its process, unless `ended`, and its output.

        Answer whether it is `held`, or `gone`: no process is the one that was started; and whether its log
        is `closed`.
        """
        job = self.jobs.get(message["id"])
        if job is not None:
            return {"held": True, "closed": job.closed}
        job = Job(message["id"], self.fifo, message)
        job.pid = message["pid"]
        job.struck = message.get("struck", False)
        job.init, job.init_start = message.get("init") or (0, 0)
        job.ended = message["ended"] or not self.adopt_process(job, message["start"])
        try:
            job.reopen_pipes()
            self.unwatched.append(job.id)
        except FileNotFoundError:
            job.closed = True
            job.close_pipes()  # a keeper died between the two
        # Looked at after the pipes were opened: who is a zombie then may have let go of them before.
        job.unheld = job.ended or not is_alive(job.pid)
        if not (job.ended and job.closed):
            self.jobs[job.id] = job
        return {"gone": job.ended, "held": not job.ended, "closed": job.closed}

    def adopt_process(self, job: Job, start: int) -> bool:
        try:
            job.pidfd = os.pidfd_open(job.pid)
        except OSError:
            return False
        try:
            same = int(stat_of(job.pid)[19]) == start  # looked at after pidfd_open: now it cannot change
        except OSError:
            same = False
        if not same:
            os.close(job.pidfd)
            return False
        self.adopted[job.pidfd] = job
        self.epoll.register(job.pidfd, 0)  # EPOLLHUP: not when it ends, but when it has been reaped
        return True

    def op_exited(self, message: dict[str, Any]) -> dict[str, Any]:
        """Take the status of an adopted job from the agent, whose child it has become."""
        job = self.jobs.get(message["id"])
        taken = job is not None and job.pidfd in self.adopted
        if job is not None and taken:
            self.end_adopted(job, (message["code"], message["signal"]))
        return {"taken": taken}

    def end_adopted(self, job: Job, status: tuple[int | None, int | None] | None) -> None:
        record: dict[str, Any]
        if status is None:
            record = {"event": "lost", "id": job.id, "why": "its keeper died, and nobody else saw its exit status"}
        else:
            record = {
                "event": "ended",
                "id": job.id,
                "code": status[0],
                "signal": status[1],
                "boottime": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                "oom": self.out_of_memory(job, status[1]),
                "left": self.left_behind(job),
                "struck": job.struck,
            }
        self.journal.note(record)
        self.epoll.unregister(job.pidfd)
        os.close(job.pidfd)
        del self.adopted[job.pidfd]
        job.ended = True
        self.forget_if_done(job)

    # Ending

    def op_signal(self, message: dict[str, Any]) -> dict[str, Any]:
        """Signal the main process, or the whole tree; `pids` are [pid, start] where there is no cgroup.

        `init` is that of the job's namespace, if it has one: what it does not outlive nobody else does.
        It counts as the cause of the end unless it says `strike: false`.
        """
        job, number = self.jobs.get(message["id"]), message["signal"]
        alive = job is not None and not job.ended and is_alive(job.pid)
        if message["target"] == "main":
            delivered = 0
            if job is not None and alive:
                if job.pidfd >= 0:
                    signal.pidfd_send_signal(job.pidfd, number)
                else:
                    os.kill(job.pid, number)
                delivered = 1
        else:
            delivered = self.signal_tree(message["id"], number, message["pids"], message.get("init"))
        if job is not None and alive and delivered and message.get("strike", True):
            job.struck = True
        return {"delivered": delivered}

    def signal_tree(self, job: str, number: int, swept: list[list[int]], init: list[int] | None) -> int:
        if init or not self.cgroups.root:
            delivered = sum(self.send(number, pid, start) for pid, start in swept)
            if init and number == signal.SIGKILL:
                self.kill_init(*init)
                if self.cgroups.root:
                    self.kill_group(job)
            return delivered
        if number == signal.SIGKILL:
            return self.kill_group(job)
        mark = f"{self.cgroups.path}/{job}"
        return sum(self.send(number, pid, mark) for pid in self.members(f"{self.cgroups.root}/{job}"))

    def kill_group(self, job: str) -> int:
        group = f"{self.cgroups.root}/{job}"
        pids = self.members(group)
        if pids:
            with open(f"{group}/cgroup.kill", "wb", buffering=0) as file:
                file.write(b"1")
            for pid in self.members(group):  # it misses a process whose first thread has ended
                self.send(signal.SIGKILL, pid, f"{self.cgroups.path}/{job}")
        return len(pids)

    def kill_init(self, pid: int, start: int) -> None:
        """Have the kernel end all that is in a namespace; its init is gone when all others are."""
        if self.send(signal.SIGKILL, pid, start) and pid in self.inits:
            self.ending.add(pid)

    def send(self, number: int, pid: int, mark: int | str) -> bool:
        """Signal the process if it is the one meant: by its start in ticks, or the cgroup it is in."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return False
        try:
            if isinstance(mark, int):
                same = int(stat_of(pid)[19]) == mark
            else:
                same = f"{group_of(pid)}/".startswith(f"{mark}/")
            if same:
                signal.pidfd_send_signal(pidfd, number)
            return same
        except OSError:
            return False
        finally:
            os.close(pidfd)

    def op_freeze(self, message: dict[str, Any]) -> None:
        """Hold the whole cgroup of a job still, or let it go on."""
        with open(f"{self.cgroups.root}/{message['id']}/cgroup.freeze", "wb", buffering=0) as file:
            file.write(b"1" if message["frozen"] else b"0")

    @staticmethod
    def members(group: str) -> list[int]:
        pids: list[int] = []
        for folder, _, _ in os.walk(group):
            try:
                with open(f"{folder}/cgroup.procs") as file:
                    pids += [int(line) for line in file]
            except OSError:
                continue
        return pids

    def op_release(self, message: dict[str, Any]) -> dict[str, Any]:
        """End the namespace of an ended job that left nobody, and remove what is left of its cgroup."""
        if init := message.get("init"):
            self.kill_init(*init)
        return {"gone": self.remove_group(message["id"])}

    def reap(self) -> None:
        """Journal every exit before the process is reaped: a kill in between loses no status."""
        self.owing = False
        try:
            self.journal.settle()
        except OSError:
            return
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if info is None:
                return
            job = self.pids.get(info.si_pid)
            if job is not None:
                try:
                    self.end(job, info)
                except OSError:
                    self.owing = True
                    return  # it stays a zombie until the journal takes its status
            os.waitpid(info.si_pid, 0)
            if info.si_pid == self.pump_pid:
                self.pump_pid = 0
            if info.si_pid in self.inits:
                self.ending.discard(info.si_pid)
                self.remove_group(self.inits.pop(info.si_pid))

    def end(self, job: Job, info: os.waitid_result) -> None:
        stat = stat_of(job.pid)
        tick = os.sysconf("SC_CLK_TCK")
        exited = info.si_code == os.CLD_EXITED
        self.journal.append(
            {
                "event": "ended",
                "id": job.id,
                "code": info.si_status if exited else None,
                "signal": None if exited else info.si_status,
                "core": info.si_code == os.CLD_DUMPED,
                "boottime": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                "user": (int(stat[11]) + int(stat[13])) / tick,
                "system": (int(stat[12]) + int(stat[14])) / tick,
                "oom": self.out_of_memory(job, None if exited else info.si_status),
                "left": self.left_behind(job),
                "struck": job.struck,
            }
        )
        job.ended = True
        del self.pids[job.pid]
        self.forget_if_done(job)

    def out_of_memory(self, job: Job, number: int | None) -> bool:
        """Whether the kernel killed the main process at the job's limit of memory; its group is still there."""
        if number != signal.SIGKILL or job.struck:
            return False
        job.oom = job.oom or self.limits.killed(job.id)  # kept: the journal may not take it at once
        return job.oom

    def left_behind(self, job: Job) -> bool:
        """Whether processes of an ended job may be alive.

        In a namespace or a cgroup, exactly. Else its orphans are children of this process, which is their subreaper:
        where it has none but main processes and the pump, nothing was left.
        """
        if job.init:
            return self.left_in_namespace(job)
        if self.cgroups.root:
            return not self.remove_group(job.id)
        self.limits.remove(job.id)
        if job.pidfd >= 0:
            return True  # its orphans are not our children
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            children = {int(pid) for pid in file.read().split()}
        return bool(children - self.pids.keys() - self.inits.keys() - {self.pump_pid})

    def left_in_namespace(self, job: Job) -> bool:
        """Whether the init has children, which the orphans of the main process are; without any it is ended."""
        if job.pidfd >= 0:
            return True  # adopted, as its init is: nobody but the agent would see that gone
        try:
            with open(f"/proc/{job.init}/task/{job.init}/children") as file:
                left = bool(file.read().split())
        except OSError:
            return False
        if not left:
            self.kill_init(job.init, job.init_start)
        return left

    def forget_if_done(self, job: Job) -> None:
        if job.ended and job.closed:
            del self.jobs[job.id]

    # The pump

    def mend_pump(self) -> None:
        """Start a pump where there is none, but not one that cannot live again and again."""
        if self.pump is not None or time.monotonic() - self.pump_tried < RETRY:
            return
        self.pump_tried = time.monotonic()
        try:
            self.start_pump()
        except OSError as error:
            print(f"no pump could be started: {error}", file=sys.stderr, flush=True)

    def start_pump(self) -> None:
        """Start a pump on a socket by name, which the keeper after this one can connect to as well."""
        path = f"{self.run_folder}/pump.sock"
        if os.path.exists(path):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(path)
        listener.listen(8)
        pump = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "pump", "pump.py")
        self.pump_pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", pump, f"{self.state}/logs"],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, listener.fileno(), 3)],
            setsigmask=[],
            setsigdef=ALL_SIGNALS,
        )
        listener.close()
        self.join_pump()
        self.forgotten.clear()
        self.unwatched = deque(job.id for job in self.jobs.values() if not job.closed)

    def join_pump(self) -> bool:
        """Connect to the pump that listens, be it ours or of the keeper before; return whether there is one."""
        pump = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pump.connect(f"{self.run_folder}/pump.sock")
        except OSError:
            pump.close()
            return False
        pump.setblocking(False)
        self.pump = pump
        self.epoll.register(pump, select.EPOLLIN)
        return True

    def hand_over(self) -> None:
        """Give the pump the read ends it does not have; our own stay open, so either of us may die."""
        while self.pump and (self.forgotten or self.unwatched):
            queue = self.forgotten or self.unwatched
            message: dict[str, Any] = {"op": "forget", "id": queue[0]}
            pipes: list[int] = []
            if queue is self.unwatched:
                job = self.jobs[queue[0]]
                message = {"op": "watch", "id": job.id, "drop": job.drop, "max": job.max, "keep": job.keep}
                pipes = job.pipes
            try:
                socket.send_fds(self.pump, [encode(message).encode()], pipes)
            except BlockingIOError:
                self.epoll.modify(self.pump, select.EPOLLIN | select.EPOLLOUT)
                return
            except OSError:
                return  # hear_pump() will see that it is gone
            queue.popleft()

    def hear_pump(self) -> None:
        assert self.pump is not None
        self.epoll.modify(self.pump, select.EPOLLIN)
        while True:
            try:
                data = self.pump.recv(MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.epoll.unregister(self.pump)
                self.pump.close()
                self.pump = None
                return
            message = json.loads(data)
            if "hello" in message:
                self.splices = message["splice"]
                self.punches = message.get("punch", False)
                self.pump_pid = message["pid"]
                self.held = set(message["jobs"])
            elif job := self.jobs.get(message["id"]):
                self.hear_of(job, message)

    def hear_of(self, job: Job, message: dict[str, Any]) -> None:
        """Journal what the pump says of a log: that output was dropped, or that it is closed."""
        if message.get("truncated") and not job.truncated:
            job.truncated = True
            self.journal.note({"event": "truncated", "id": job.id})
        if "size" not in message:
            return
        # What was in a pipe is gone where its last end was closed while neither keeper nor pump was there.
        cut = job.unheld and job.id not in self.held
        self.held.discard(job.id)
        record = {"event": "closed", "id": job.id, "size": message["size"], "first": message.get("first", 0)}
        self.journal.note(record | {"truncated": cut or job.truncated})
        job.closed = True
        job.close_pipes()
        if job.id in self.unwatched:  # taken over, and the pump had it all along
            self.unwatched.remove(job.id)
        self.forget_if_done(job)


def run_as() -> None:
    """Execute a command as another user, on its own; all about it is read from 0, an errno is written to 1."""
    asked = json.load(sys.stdin)
    report = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in range(3):
        os.dup2(null, fd)
    try:
        reset_signals()
        change_user(**asked["user"])
        os.chdir(asked["cwd"])
        argv, env = asked["argv"], asked["env"]
        os.execve(find_program(argv[0], env.get("PATH", os.defpath)), argv, env)
    except OSError as error:
        os.write(report, str(error.errno).encode())
        sys.exit(1)


def main() -> None:
    state, run = sys.argv[1:3]
    if LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # told to end by the agent, not by whoever ends a session
    os.chdir("/")
    os.umask(0o022)
    handed: dict[str, Any] = {}
    if HANDED in os.environ:
        memory = int(os.environ.pop(HANDED))
        with open(memory, "rb") as file:
            file.seek(0)
            handed = json.load(file)
    else:
        for name in os.listdir("/proc/self/fd"):  # what the agent's parent left open, beyond the limit as well
            if int(name) > 3:
                try:
                    os.close(int(name))
                except OSError:
                    pass  # it was that of the list
    lock = handed["lock"] if handed else os.open(f"{state}/keeper.lock", os.O_WRONLY | os.O_CREAT, 0o600)
    os.set_inheritable(lock, False)
    # Waits for a predecessor that is about to leave; not flock, which a child that hangs would go on holding.
    fcntl.lockf(lock, fcntl.LOCK_EX)
    listener = socket.socket(fileno=handed["listener"] if handed else 3)
    listener.set_inheritable(False)
    listener.setblocking(False)
    keeper = Keeper(listener, lock, state, run)
    if handed:
        keeper.take_over(handed)
    else:
        keeper.begin()
    gc.collect()
    gc.freeze()
    keeper.run()


if __name__ == "__main__":
    if sys.argv[1:] == ["--as"]:
        run_as()
    else:
        main()
