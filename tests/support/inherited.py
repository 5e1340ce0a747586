"""Programs that show what a process has inherited: one that changes all of it first, and one that prints it."""

import json
import subprocess
import sys
from typing import Any

# Changes what an execve passes on, then executes its arguments. The first line it prints is its session keyring.
CALLER = """
import ctypes, os, resource, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
machine = os.uname().machine
ioprio_set, keyctl, add_key = (251, 250, 248) if machine == "x86_64" else (30, 219, 217)
ring = libc.syscall(keyctl, 1, None)
libc.syscall(add_key, b"user", b"jobworker-secret", b"x", ctypes.c_size_t(1), -3)
print(ring, flush=True)
os.nice(15)
os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
libc.syscall(ioprio_set, 1, 0, 3 << 13)
libc.personality(0x0040000)
libc.prctl(29, 7_000_000, 0, 0, 0)
libc.prctl(41, 1, 0, 0, 0)
open("/proc/self/oom_score_adj", "w").write("300")
open("/proc/self/coredump_filter", "w").write("0")
os.umask(0o007)
os.environ["JOBWORKER_TEST_SECRET"] = "kept"
for name in ("HUP", "USR1", "PIPE", "CHLD", "TERM", "QUIT"):
    signal.signal(getattr(signal, f"SIG{name}"), signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM])
for name, limit in {"FSIZE": 50 << 20, "CPU": 5000, "DATA": 8 << 30, "STACK": 16 << 20, "CORE": 1 << 20}.items():
    resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit // 4, limit))
resource.setrlimit(resource.RLIMIT_NOFILE, (3000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
os.execv(sys.argv[1], sys.argv[1:])
"""

# Prints what the process with the pid in argv, or this one, has.
FACTS = """
import ctypes, json, os, resource, sys
pid = int(sys.argv[1]) if sys.argv[1:] else 0
libc = ctypes.CDLL(None, use_errno=True)
ioprio_get, keyctl, add_key = (252, 250, 248) if os.uname().machine == "x86_64" else (31, 219, 217)
place = f"/proc/{pid or 'self'}"
status = dict(line.split(":", 1) for line in open(f"{place}/status"))
environ = dict(item.split("=", 1) for item in open(f"{place}/environ").read().split("\\0") if "=" in item)
def attempt(number, *arguments):
    result = libc.syscall(number, *arguments)
    return result if result >= 0 else os.strerror(ctypes.get_errno())
facts = {
    "nice": os.getpriority(os.PRIO_PROCESS, pid),
    "policy": os.sched_getscheduler(pid),
    "affinity": sorted(os.sched_getaffinity(pid)),
    "oom_score_adj": open(f"{place}/oom_score_adj").read().strip(),
    "coredump_filter": open(f"{place}/coredump_filter").read().strip(),
    "ignored": int(status["SigIgn"], 16) & ~(0b11 << 31),  # 32 and 33 are glibc's own
    "blocked": int(status["SigBlk"], 16),
    "umask": int(status["Umask"], 8),
    "environ": environ.get("JOBWORKER_TEST_SECRET", ""),
    "limits": {name[7:]: resource.prlimit(pid, getattr(resource, name))
               for name in dir(resource) if name.startswith("RLIMIT_")},
    "ioprio": attempt(ioprio_get, 1, pid),
}
if not pid:
    facts |= {
        "ignored": facts["ignored"] & ~(1 << 12 | 1 << 24),  # SIGPIPE and SIGXFSZ, which Python ignores itself
        "personality": libc.personality(ctypes.c_ulong(0xFFFFFFFF)),
        "timer_slack": libc.prctl(30, 0, 0, 0, 0),
        "thp_disable": libc.prctl(42, 0, 0, 0, 0),
        "keyring": attempt(keyctl, 0, -3, 0),
        "found": attempt(keyctl, 10, -3, b"user", b"jobworker-secret", 0),
        "own": attempt(add_key, b"user", b"jobworker-secret", b"x", ctypes.c_size_t(1), -3),
    }
    found = attempt(keyctl, 10, -3, b"user", b"jobworker-secret", 0)
    facts["own"] = "added and found" if facts["own"] == found else f"{facts['own']}, {found}"
print(json.dumps(facts))
"""


def facts_of(pid: int) -> dict[str, Any]:
    """Return what a process has inherited, or set itself."""
    done = subprocess.run([sys.executable, "-c", FACTS, str(pid)], capture_output=True, text=True, check=True)
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts
