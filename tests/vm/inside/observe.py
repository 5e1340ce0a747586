"""Observe what an agent does on this host, and print it as one line of JSON; the standard library alone.

python observe.py '["jw"]' '["systemctl", "restart", "jobworker"]'    # how to call jw, and how to restart the agent

Each value is what was seen, not what the agent claims. An agent that `jw` starts is restarted by ending it:
its command to restart is `jw agent stop`.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 120.0  # seconds; a guest is emulated
SLEEPER = "99001"  # seconds that each escape artist sleeps: it is found by them
# Four ways out of a stop, and the main process; all of them ignore SIGTERM.
ARTISTS = f"""
trap '' TERM HUP
setsid sleep {SLEEPER} &
(setsid sh -c 'sleep {SLEEPER} & exit' &)
nohup sleep {SLEEPER} >/dev/null 2>&1 &
env -u JOBWORKER_JOB_ID setsid sleep {SLEEPER} >/dev/null 2>&1 </dev/null &
exec sleep {SLEEPER}
"""
COUNT = 5
EATER = f"exec {sys.executable} -c 'b\"x\" * (256 << 20)'"
FORKS = f"{sys.executable} {Path(__file__).with_name('forks.py')}"
BURN = "timeout 3 sh -c 'while :; do :; done'; true"
WRITE = "dd if=/dev/zero of=jobworker-rate bs=256K count=16 oflag=direct 2>/dev/null; rm jobworker-rate"
WRITE_LEAST = 2.0  # seconds for 4 MiB at 1 MiB a second, of which the kernel lets a part through at once


class Host:
    """An agent on this host, as a caller of `jw` sees it."""

    def __init__(self, jw: list[str], restart: list[str]) -> None:
        self._jw = jw
        self._restart = restart

    def jw(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*self._jw, *words], capture_output=True, text=True, check=False, timeout=PATIENCE)

    def start(self, command: str, *options: str) -> str:
        return self.jw("run", "-d", "-w", "/", *options, "--", "sh", "-c", command).stdout.strip()

    def status(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.jw("status", "--json", job).stdout or "{}")
        return found

    def info(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.jw("agent", "info", "--json").stdout)
        return found

    def observe(self) -> dict[str, Any]:
        hello = self.jw("run", "-w", "/", "--", "echo", "hello")
        if hello.stdout != "hello\n":
            return {"starts": hello.stderr.strip() or "no"}
        looks = {
            "stop": self._stop,
            "limits": self._limits,
            "keeper dies": lambda: self._end_after(["keeper"]),
            "both die": lambda: self._end_after(["agent", "keeper"]),
            "restart": self._restarted,
        }
        if self.info()["pid"] == 1:  # the container ends with it
            del looks["both die"]
        return {"starts": True} | {name: self._seen(look) for name, look in looks.items()}

    def _seen(self, look: Callable[[], Any]) -> Any:
        """Return what was seen, or why it was not."""
        try:
            return look()
        except (OSError, ValueError, LookupError, TypeError, subprocess.SubprocessError) as error:
            return {"error": f"not seen: {error!r}"[:300]}

    def _stop(self) -> dict[str, Any]:
        """Stop a job whose processes try to escape; `left` is how many did."""
        job = self.start(ARTISTS)
        wait_until(lambda: len(sleepers()) == COUNT)
        self.jw("stop", "--grace", "500ms", job)
        left = sleepers()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        receipt = self.status(job)["exit"]["receipt"]
        return {"method": receipt["method"], "proof": receipt["proof"], "left": len(left)}

    def _limits(self) -> dict[str, Any]:
        """Return for each limit that the agent offers whether it held."""
        tries = {"memory": self._memory, "pids": self._pids, "cpus": self._cpus, "io": self._io}
        return {kind: tries[kind]() for kind in self.info()["capabilities"]["limits"]}

    def _last(self, *words: str) -> dict[str, Any]:
        done = self.jw("run", "--json", *words)
        end: dict[str, Any] = json.loads((done.stdout.splitlines() or [done.stderr])[-1])["exit"]
        return end

    def _memory(self) -> bool:
        return bool(self._last("-w", "/", "-m", "64MiB", "--shell", EATER)["reason"] == "oom")

    def _pids(self) -> bool:
        forked = self.jw("run", "-w", "/", "--pids", "8", "--shell", FORKS).stdout.strip()
        return forked.isdigit() and 1 <= int(forked) <= 7

    def _cpus(self) -> bool:
        end = self._last("-w", "/", "--cpus", "0.2", "--shell", BURN)
        return bool(end["usage"]["cpu_seconds"] < 0.5 * end["ran_seconds"])

    def _io(self) -> bool:
        end = self._last("-w", "/var/tmp", "--io-write", "1MiB", "--shell", WRITE)
        return bool(end["ran_seconds"] > WRITE_LEAST)

    def _end_after(self, killed: list[str]) -> "int | str":
        """Kill these processes under a job, let it end, and return its code, or its state if it has none.

        It ends at once if the agent is there to see it, else when the next agent has adopted it.
        """
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            gate = Path(folder) / "gate"
            job = self.start(f"until [ -e {gate} ]; do sleep 0.1; done; exit 7")
            info = self.info()
            pids = {"agent": info["pid"], "keeper": info["keeper"]["pid"]}
            for name in killed:
                os.kill(pids[name], signal.SIGKILL)
            if "agent" in killed:
                self._another_agent()
            gate.touch()
            self.jw("wait", job)
        end = self.status(job)
        code: int | None = end["exit"]["code"]
        return str(end["state"]) if code is None else code

    def _another_agent(self) -> None:
        """Restart the agent; one that a caller starts is started by the next call, which may come too early."""
        subprocess.run(self._restart, check=False, capture_output=True, timeout=PATIENCE)
        wait_until(lambda: self.jw("ps").returncode == 0)

    def _restarted(self) -> bool:
        """Whether a job runs on when the agent is restarted, and the next one starts others."""
        job = self.start("exec sleep 1000")
        before, agent = self.status(job), self.info()["pid"]
        self._another_agent()
        after = self.status(job)
        again = self.jw("run", "-w", "/", "--", "echo", "again").stdout
        self.jw("rm", "-f", job)
        replaced = agent == 1 or self.info()["pid"] != agent
        return replaced and (after["state"], after["pid"], again) == ("running", before["pid"], "again\n")


def sleepers() -> list[int]:
    """Return the pids of all escape artists that live."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if Path(f"/proc/{entry}/cmdline").read_bytes() == f"sleep\0{SLEEPER}\0".encode():
                found.append(int(entry))
        except OSError:  # it has just ended
            continue
    return found


def wait_until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {PATIENCE:g} s in vain")
        time.sleep(0.2)


if __name__ == "__main__":
    print(json.dumps(Host(json.loads(sys.argv[1]), json.loads(sys.argv[2])).observe()))
