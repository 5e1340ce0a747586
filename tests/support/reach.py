"""A program that tries, as a job of another user, to reach agent, keeper, pump and jobs; it prints each answer.

Its argument is JSON: `state` and `run`, the folders; `job`, the id of another job; `groups`, folders of cgroups, and
`pids` by name. A line is the attempt, a tab, and the errno or SUCCEEDED.
"""

ATTEMPTS = """
import ctypes, errno, json, os, resource, signal, socket, sys
given = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
NUMBERS = {"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
           "ioprio_set": (251, 30), "migrate_pages": (256, 238), "capset": (126, 91)}
NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (1 << bit for bit in (17, 25, 26, 27, 28, 29, 30))
prefix = ""
def attempt(what, do):
    try:
        do()
    except OSError as error:
        print(f"{prefix}{what}\\t{errno.errorcode[error.errno]}")
    except ValueError:  # of resource.setrlimit, for EPERM
        print(f"{prefix}{what}\\tEPERM")
    else:
        print(f"{prefix}{what}\\tSUCCEEDED")
def c(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
def call(name, *arguments):
    number = NUMBERS[name][0 if X86 else 1]
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    c(libc.syscall(ctypes.c_long(number), *words))
def read(path, flags=os.O_RDONLY):
    os.close(os.open(path, flags | os.O_NONBLOCK))
def write(path, text):
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)
def connect(name, kind):
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.connect(f"{given['run']}/{name}")
def with_pidfd(pid, do):
    fd = os.pidfd_open(pid)
    try:
        do(fd)
    finally:
        os.close(fd)
def vector(name, pid):
    local = ctypes.create_string_buffer(8)
    own = (ctypes.c_size_t * 2)(ctypes.addressof(local), 8)
    theirs = (ctypes.c_size_t * 2)(0x400000, 8)
    call(name, pid, own, 1, theirs, 1, 0)
def enter(pid, kind):
    fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
    c(libc.setns(fd, 0))
def files():
    for name in ("", "local.token", "tokens.json", "tls/ca.key", "tls/server.key", "jobs.db", "journal", "logs",
                 f"logs/{given['job']}/out", "agent.json", "agent.lock", "keeper.lock", "keeper.log", "audit.log"):
        attempt(f"read state/{name}", lambda: read(f"{given['state']}/{name}"))
    attempt("make a file in state", lambda: read(f"{given['state']}/planted", os.O_CREAT | os.O_WRONLY))
    for name in ("", "fifo", f"fifo/{given['job']}.out"):
        attempt(f"read run/{name}", lambda: read(f"{given['run']}/{name}"))
    attempt("replace a socket", lambda: os.unlink(f"{given['run']}/agent.sock"))
    for name, kind in (("keeper.sock", socket.SOCK_SEQPACKET), ("pump.sock", socket.SOCK_SEQPACKET),
                       ("agent.sock", socket.SOCK_STREAM)):
        attempt(f"connect {name}", lambda: connect(name, kind))
    for name, folder in given["groups"].items():
        attempt(f"cgroup of {name}: move there", lambda: write(f"{folder}/cgroup.procs", b"0"))
        attempt(f"cgroup of {name}: kill", lambda: write(f"{folder}/cgroup.kill", b"1"))
        attempt(f"cgroup of {name}: freeze", lambda: write(f"{folder}/cgroup.freeze", b"1"))
        attempt(f"cgroup of {name}: make one in it", lambda: os.mkdir(f"{folder}/planted"))
def processes():
    for name, pid in given["pids"].items():
        attempt(f"ptrace attach {name}", lambda: call("ptrace", 16, pid, 0, 0))
        attempt(f"ptrace seize {name}", lambda: call("ptrace", 0x4206, pid, 0, 0))
        for file in ("environ", "maps", "auxv", "io"):
            attempt(f"read {file} of {name}", lambda: open(f"/proc/{pid}/{file}", "rb").read())
        attempt(f"open mem of {name}", lambda: read(f"/proc/{pid}/mem"))
        attempt(f"write mem of {name}", lambda: read(f"/proc/{pid}/mem", os.O_WRONLY))
        for link in ("cwd", "root", "exe", "ns/mnt"):
            attempt(f"follow {link} of {name}", lambda: os.readlink(f"/proc/{pid}/{link}"))
        attempt(f"list descriptors of {name}", lambda: os.listdir(f"/proc/{pid}/fd"))
        attempt(f"open descriptor 1 of {name}", lambda: read(f"/proc/{pid}/fd/1", os.O_RDWR))
        attempt(f"files of {name} by its map", lambda: os.listdir(f"/proc/{pid}/map_files"))
        attempt(f"oom_score_adj of {name}", lambda: write(f"/proc/{pid}/oom_score_adj", b"1000"))
        attempt(f"pidfd_getfd {name}", lambda: with_pidfd(pid, lambda fd: c(libc.syscall(438, fd, 1, 0))))
        attempt(f"read memory of {name}", lambda: vector("process_vm_readv", pid))
        attempt(f"write memory of {name}", lambda: vector("process_vm_writev", pid))
        attempt(f"read limits of {name}", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE))
        attempt(f"set limits of {name}", lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)))
        attempt(f"niceness of {name}", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
        attempt(f"affinity of {name}", lambda: os.sched_setaffinity(pid, {0}))
        attempt(f"policy of {name}", lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)))
        attempt(f"I/O priority of {name}", lambda: call("ioprio_set", 1, pid, 3 << 13))
        attempt(f"namespace of {name}", lambda: enter(pid, "mnt"))
        attempt(f"pid namespace of {name}", lambda: enter(pid, "pid"))
        for number in (signal.SIGCONT, signal.SIGSTOP, signal.SIGHUP, signal.SIGKILL):
            attempt(f"{number.name} to {name}", lambda: os.kill(pid, number))
        attempt(f"pidfd signal to {name}", lambda: with_pidfd(pid, lambda fd: signal.pidfd_send_signal(fd, 9)))
        attempt(f"group of {name}", lambda: os.killpg(os.getpgid(pid), 9))
        attempt(f"queued signal to {name}", lambda: c(libc.sigqueue(pid, 9, ctypes.c_void_p(0))))
def privileges():
    attempt("become root", lambda: os.setresuid(0, 0, 0))
    attempt("become daemon", lambda: os.setresuid(1, 1, 1))
    attempt("group of root", lambda: os.setresgid(0, 0, 0))
    attempt("groups", lambda: os.setgroups([0]))
    attempt("capabilities", lambda: call("capset", (ctypes.c_uint32 * 2)(0x20080522, 0),
                                         (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)))
    attempt("ambient capability", lambda: c(libc.prctl(47, 2, 21, 0, 0)))
    attempt("keep a capability", lambda: c(libc.prctl(28, 1, 0, 0, 0)))
    attempt("raise a hard limit", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 29, 1 << 29)))
    attempt("raise the priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, -5))
    attempt("oom_score_adj below 0", lambda: write("/proc/self/oom_score_adj", b"-900"))
    attempt("another loginuid", lambda: write("/proc/self/loginuid", b"0"))
    attempt("mount", lambda: c(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)))
    attempt("bind mount", lambda: c(libc.mount(b"/", b"/tmp", None, 4096, None)))
    attempt("remount", lambda: c(libc.mount(None, b"/", None, 32 | 4096, None)))
    attempt("unmount", lambda: c(libc.umount2(b"/proc", 2)))
    attempt("chroot", lambda: os.chroot("/"))
    attempt("device", lambda: os.mknod("/tmp/planted-device", 0o600 | 0o020000, os.makedev(1, 1)))
    for name, flag in {"mount": NEWNS, "pid": NEWPID, "network": NEWNET, "uts": NEWUTS, "ipc": NEWIPC,
                       "cgroup": NEWCGROUP}.items():
        attempt(f"a {name} namespace", lambda: c(libc.unshare(flag)))
    attempt("host name", lambda: c(libc.sethostname(b"planted", 7)))
    attempt("clock", lambda: __import__("time").clock_settime(0, 0))
files()
processes()
privileges()
# As root of a user namespace of its own, if the host lets it have one: root of nothing else.
if libc.unshare(NEWUSER) == 0:
    prefix = "in a user namespace: "
    files()
    processes()
sys.stdout.flush()
print("done")
"""
