"""An agent in the guest: as a unit of systemd, or as `jw` starts one from a shell."""

import json
import shlex
from pathlib import PurePosixPath
from typing import Any

from tests.vm.code import TREE
from tests.vm.guest import PORT, Done, Guest
from tests.vm.recipe import VENV

CGROUPS = "/sys/fs/cgroup"
INSIDE = f"{TREE}/tests/vm/inside"  # scripts for the guest
READY = 120  # seconds an agent may take to listen; under emulation it takes about 5
LIMITS = {"memory", "pids", "cpus"}
CONFIG = f'[server]\nhost = "0.0.0.0"\nport = {PORT}\n[agent]\non_shutdown = "leave"\n'
UNIT = "jobworker.service"
ETC = "/etc/jobworker/config.toml"
# Nothing of the agent's decides what becomes of the jobs: a service leaves them without being told to.
SETTINGS = CONFIG.partition("[agent]")[0]
# Five ways out of a stop. Each process ignores SIGTERM and is `sleep 99NNN`, so that it can be counted.
ARTISTS = """
trap '' TERM HUP
setsid sleep 99001 &
(setsid sh -c 'sleep 99002 & exit' &)
nohup sleep 99003 >/dev/null 2>&1 &
env -u JOBWORKER_JOB_ID setsid sleep 99004 >/dev/null 2>&1 </dev/null &
exec sleep 99005
"""
ALIVE = "pgrep -c -f '^sleep 9900[1-5]$'"


def unit_text(home: str, *, service: str = "", wanted_by: str = "multi-user.target") -> str:
    """Return a unit file as an operator writes it by hand; `service` are more lines of its section."""
    lines = [
        "[Service]",
        "Delegate=yes",
        "KillMode=process",
        "TasksMax=infinity",
        f"Environment=JOBWORKER_HOME={home}",
    ]
    lines += [f"ExecStart={VENV}/bin/jw agent run --config {home}/config.toml", service]
    return "\n".join([*lines, "[Install]", f"WantedBy={wanted_by}", ""])


class Agent:
    """An agent on the state folder `home`, run by `user`.

    `unit` is its unit, if it has one: of the system's manager, or of the user's own if `of_user`.
    """

    def __init__(self, guest: Guest, home: str, *, user: str = "root", unit: str = "", of_user: bool = False) -> None:
        self.guest = guest
        self.home = home
        self.user = user
        self.unit = unit
        self._manager = user if of_user else "root"
        self._systemctl = "systemctl --user" if of_user else "systemctl"
        self._folder = f"/home/{user}/.config/systemd/user" if of_user else "/etc/systemd/system"

    def install(self, text: str, *, config: str = CONFIG) -> None:
        """Write configuration and unit, start it, and wait until it listens."""
        owner = self.user
        self.guest.run(f"mkdir -p -m 700 {self.home} && chown {owner} {self.home}")
        self.guest.write(f"{self.home}/config.toml", config)
        self.guest.run(f"mkdir -p {self._folder} && chown -R {self._manager} $(dirname {self._folder})")
        self.guest.write(f"{self._folder}/{self.unit}", text)
        self.systemctl("daemon-reload")
        self.systemctl(f"enable --now {self.unit}")
        self.wait_ready()

    def install_service(self) -> None:
        """Install it as the documentation does for a host, and wait until it listens."""
        self.guest.write(ETC, SETTINGS)
        done = self.guest.run(f"jw agent install --systemd --config {ETC}", timeout=300)
        assert done.stdout == f"/etc/systemd/system/{UNIT}\n"
        assert "enabled jobworker.service: it starts when the host boots" in done.stderr
        self.wait_ready()

    def remove(self) -> None:
        """End the agent with its jobs and leave nothing of it, whatever state it is in."""
        self.jw("agent stop --jobs", check=False)
        if self.unit:
            self.systemctl(f"disable --now {self.unit}", check=False)
            self.systemctl(f"kill -s KILL {self.unit}", check=False)
            self.systemctl("reset-failed", check=False)
            self.guest.run(f"rm -f {self._folder}/{self.unit}")
        self.guest.run(f"pkill -KILL -f '[j]obworker.* {self.home}( |$)|^sleep 9900'; true", check=False)
        self.guest.run(f"rm -rf {self.home}")

    def systemctl(self, words: str, *, check: bool = True, timeout: float = 180) -> str:
        done = self.guest.run(f"{self._systemctl} {words}", user=self._manager, check=check, timeout=timeout)
        return done.stdout.strip()

    def show(self, name: str) -> str:
        """Return a property of the unit, as `MainPID`."""
        return self.systemctl(f"show -p {name} --value {self.unit}")

    def wait_ready(self, port: int = PORT) -> None:
        """Wait until the agent has published its address and listens; fail with the status of its unit if not."""
        published = f"pid=$(grep -Po '\"pid\": \\K[0-9]+' {self.home}/agent.json 2>/dev/null)"
        alive = "grep -qa jobworker /proc/$pid/cmdline 2>/dev/null"
        ready = f"{published} && {alive} && (: </dev/tcp/127.0.0.1/{port}) 2>/dev/null"
        probe = f"while [ $SECONDS -lt {READY} ]; do {ready} && exit; sleep 0.5; done; exit 1"
        if self.guest.run(probe, check=False, timeout=READY * 4).code:
            status = self.systemctl(f"status --no-pager {self.unit}", check=False)
            raise AssertionError(f"no agent listens on port {port} of the guest:\n{status}")

    def jw(self, words: str, *, check: bool = True, timeout: float = 120, under: str = "") -> Done:
        """Run `jw` with a line of words against this agent; `under` is a command that executes its arguments."""
        line = f"export JOBWORKER_HOME={self.home}; exec {under} jw {words}"
        return self.guest.run(line, user=self.user, check=check, timeout=timeout)

    def info(self) -> dict[str, Any]:
        found: dict[str, Any] = self.jw("agent info --json").json()
        return found

    def status(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self.jw(f"status --json {job}").json()
        return found

    def start(self, command: str, options: str = "") -> str:
        """Start a job in the background that runs a line of sh; return its id."""
        return self.jw(f"run -d -w / {options} -- sh -c {shlex.quote(command)}").stdout.strip()

    def cgroup(self, pid: int) -> str:
        """Return the folder of a process's cgroup."""
        line = self.guest.run(f"cat /proc/{pid}/cgroup").stdout.strip()
        return CGROUPS + line.removeprefix("0::")

    def value(self, job: str, name: str) -> str:
        """Return what a file of the job's cgroup holds, as `memory.max`."""
        group = PurePosixPath(self.cgroup(self.status(job)["pid"]))
        return self.guest.run(f"cat {group}/{name}").stdout.strip()

    def stop_artists(self) -> dict[str, Any]:
        """Run a job of escape artists, stop it, and return its receipt when none of them lives."""
        job = self.start(ARTISTS)
        wait = f"for _ in $(seq 200); do [ $({ALIVE}) = 5 ] && exit; sleep 0.2; done; exit 1"
        assert self.guest.run(wait, check=False).code == 0, "not all five processes of the job have started"
        self.jw(f"stop --grace 500ms {job}")
        assert self.guest.run(ALIVE, check=False).stdout.strip() == "0", "a process escaped the stop"
        receipt: dict[str, Any] = self.status(job)["exit"]["receipt"]
        return receipt

    def stop_all(self) -> None:
        """End all jobs, so that the next test finds none."""
        self.jw("ps -q | xargs -r jw rm -f", check=False)

    def check_limits(self) -> None:
        """Memory, processes and CPU are limited, and the kernel's OOM is the reason that is given."""
        eater = "python3 -c 'b\"x\" * (256 << 20)'"
        ended = self.jw(f"run -w / -m 64M --json -- {eater}", check=False)
        last = json.loads(ended.stdout.splitlines()[-1])
        assert last["exit"]["reason"] == "oom", last
        forks = self.jw(f"run -w / --pids 8 -- python3 {INSIDE}/forks.py")
        assert 1 <= int(forks.stdout) <= 7, "main process and children are at most 8"
        half = self.start("exec sleep 1000", "--cpus 0.5")
        quota, period = self.value(half, "cpu.max").split()
        assert int(quota) * 2 == int(period)
        self.jw(f"stop {half}")
