"""Print the table of hosts: what an agent on each kind was seen to do.

python -m tests.vm.hosts            # this machine, containers on it, and a guest: about ten minutes
python -m tests.vm.hosts --only alice container    # the kinds whose names have one of these words
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support.container import JW, Container, lacking
from tests.vm.agents import INSIDE, UNIT, Agent, unit_text
from tests.vm.code import pack
from tests.vm.guest import Guest
from tests.vm.recipe import TREE, VENV, build, missing

OBSERVE = "tests/vm/inside/observe.py"
LONG = 1800.0  # seconds for all that is observed of one kind of host, in an emulated guest
HEADER = ["host", "starts", "stop", "limits that held", "exit: keeper dies", "exit: agent too", "restart keeps jobs"]
COLUMNS = ["stop", "limits", "keeper dies", "both die", "restart"]
OLD = "cgroup.kill,clone_into_cgroup,openat2_cached,pidfd_hangup,pidfd_info"  # what Linux 5.10 and earlier lack
SERVICE = "systemd-run --wait --pipe --quiet -p KillMode=process -p TasksMax=infinity --"
SCOPE = "systemd-run --user --scope --quiet -p Delegate=yes -p TasksMax=infinity"
NO_CGROUPS = 'mount -t tmpfs -o ro none "$root/sys/fs/cgroup"\n'
OWN_CGROUPS = 'mount -t cgroup2 cgroup "$root/sys/fs/cgroup"\n'
Seen = dict[str, Any]
Words = list[str]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm.hosts")
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="kinds whose names have one of these")
    wanted = parser.parse_args().only
    print(_line(HEADER), _line(["---"] * len(HEADER)), sep="\n", flush=True)
    for name, observe in [*_here()]:
        _print(name, observe, wanted)
    if reason := missing():
        print(f"no virtual machine: {reason}", file=sys.stderr)
        return 1
    in_guest = [(name, observe) for name, observe in GUEST.items() if _is_wanted(name, wanted)]
    if in_guest:
        with _guest() as guest:
            for name, observe_in in in_guest:
                _print(name, lambda observe_in=observe_in: observe_in(guest), wanted)  # type: ignore[misc]
    return 0


def _is_wanted(name: str, wanted: list[str]) -> bool:
    return any(word in name for word in wanted)


def _print(name: str, observe: Callable[[], Seen], wanted: list[str]) -> None:
    if _is_wanted(name, wanted):
        print(_line([name, *_cells(observe())]), flush=True)


def _cells(seen: Seen) -> list[str]:
    if seen["starts"] is not True:
        return [f"no: {seen['starts']}"]
    return ["yes", *(_cell(name, seen[name]) if name in seen else "ends the container" for name in COLUMNS)]


def _cell(name: str, seen: Any) -> str:
    """Return what was seen of one column; in capitals what must not be."""
    if isinstance(seen, dict) and "error" in seen:
        return str(seen["error"])
    if name == "stop":
        return f"{seen['method']}, {seen['proof']}" + (f", {seen['left']} LEFT" if seen["left"] else "")
    if name == "limits":
        return ", ".join(kind if held else f"{kind} did NOT hold" for kind, held in seen.items()) or "none"
    if name == "restart":
        return "yes" if seen else "NO"
    return _end(seen)


def _end(end: "int | str") -> str:
    return f"its code, {end}" if end == 7 else str(end)  # of the job in observe.py


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _here() -> Iterator[tuple[str, Callable[[], Seen]]]:
    """Yield the kinds of host that this machine is, or that can be made on it."""
    kernel = f"Linux {platform.release().partition('-')[0]}"
    yield f"this machine, {kernel}, started by jw", _local
    yield "this machine as an older kernel", lambda: _local({"JOBWORKER_WITHOUT": OLD})
    if not lacking():
        yield "container, cgroups that cannot be written", lambda: _contained(mounts=NO_CGROUPS)
        yield "container with cgroups of its own", lambda: _contained(mounts=OWN_CGROUPS)
        yield "container, any uid, no cgroups", lambda: _contained(uid=12345, mounts=NO_CGROUPS)


def _local(variables: "dict[str, str] | None" = None) -> Seen:
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"JOBWORKER_HOME": home} | (variables or {})
        try:
            command = [sys.executable, OBSERVE, json.dumps(JW), json.dumps([*JW, "agent", "stop"])]
            return _parsed(subprocess.run(command, env=env, cwd=TREE, capture_output=True, text=True, check=False))
        finally:
            subprocess.run([*JW, "agent", "stop", "--jobs"], env=env, capture_output=True, check=False)


def _contained(**how: Any) -> Seen:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as base:
        os.chmod(base, 0o755)
        container = Container(Path(base), **how)
        try:
            container.start()
            container.listening()
            restart = json.dumps([*JW, "agent", "restart"])
            return _parsed(container.exec(sys.executable, str(TREE / OBSERVE), json.dumps(JW), restart))
        finally:
            container.clean()


def _parsed(done: "subprocess.CompletedProcess[str]") -> Seen:
    if done.returncode:
        raise SystemExit(f"{OBSERVE} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    seen: Seen = json.loads(done.stdout)
    return seen


@contextmanager
def _guest() -> Iterator[Guest]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        code = Path(folder) / "code.tar"
        pack(TREE, code)
        guest = Guest(Path(folder), build(), code)
        stack.callback(guest.stop)
        guest.boot()
        print(f"the guest has Linux {guest.run('uname -r').stdout.strip()}", file=sys.stderr)
        guest.run("loginctl enable-linger alice")
        guest.run("for _ in $(seq 300); do [ -S /run/user/1000/bus ] && exit; sleep 0.2; done; exit 1")
        yield guest


def _observed(agent: Agent, jw: Words, restart: Words) -> Seen:
    """Observe as root, which may end what is of another user; `jw` is how the caller of this kind calls it."""
    words = ["python3", f"{INSIDE}/observe.py", json.dumps(jw), json.dumps(restart)]
    try:
        seen: Seen = agent.guest.run(shlex.join(words), timeout=LONG).json()
    finally:
        agent.remove()
    return seen


def _as(user: str, home: str, under: str = "") -> Words:
    """Return the words before those of `jw` in a login session of the user."""
    return ["su", "-l", "-c", f'export JOBWORKER_HOME={home}; exec {under} jw "$@"', "--", user, "sh"]


def _installed(guest: Guest, without: str = "") -> Seen:
    agent = Agent(guest, "/var/lib/jobworker", unit=UNIT)
    dropin = f"/etc/systemd/system/{UNIT}.d/without.conf"
    if without:
        guest.write(dropin, f"[Service]\nEnvironment=JOBWORKER_WITHOUT={without}\n")
    try:
        agent.install_service()
        return _observed(agent, ["env", f"JOBWORKER_HOME={agent.home}", "jw"], ["systemctl", "restart", UNIT])
    finally:
        guest.run(f"rm -rf {dropin}; systemctl daemon-reload")


def _by_hand(guest: Guest) -> Seen:
    agent = Agent(guest, "/var/lib/byhand", unit="byhand.service")
    agent.install(unit_text(agent.home))
    return _observed(agent, ["env", f"JOBWORKER_HOME={agent.home}", "jw"], ["systemctl", "restart", agent.unit])


def _unit_of_alice(guest: Guest) -> Seen:
    agent = Agent(guest, "/home/alice/jw", user="alice", unit="jobworker.service", of_user=True)
    agent.install(unit_text(agent.home, wanted_by="default.target"))
    restart = ["su", "-l", "-c", f"systemctl --user restart {agent.unit}", "--", "alice"]
    return _observed(agent, _as("alice", agent.home), restart)


def _system_unit_of_alice(guest: Guest) -> Seen:
    agent = Agent(guest, "/home/alice/jw", user="alice", unit="byalice.service")
    agent.install(unit_text(agent.home, service="User=alice"))
    return _observed(agent, _as("alice", agent.home), ["systemctl", "restart", agent.unit])


def _started_by_jw(guest: Guest, user: str, under: str = "") -> Seen:
    home = "/root/local" if user == "root" else f"/home/{user}/local"
    jw = _as(user, home, under)
    return _observed(Agent(guest, home, user=user), jw, [*jw, "agent", "stop"])


def _started_in_a_service(guest: Guest) -> Seen:
    agent = Agent(guest, "/root/local")
    jw = [*SERVICE.split(), "env", f"JOBWORKER_HOME={agent.home}", f"{VENV}/bin/jw"]
    return _observed(agent, jw, [*jw, "agent", "stop"])


# Debian 12 with systemd 252; Linux 6.1, or 5.10 with JOBWORKER_VM_KERNEL=bullseye. Alice lingers, bob does not.
GUEST: dict[str, Callable[[Guest], Seen]] = {
    "systemd, root: jw agent install --systemd": _installed,
    "the same as an older kernel": lambda guest: _installed(guest, OLD),
    "systemd, root: a unit with Delegate=yes": _by_hand,
    "systemd, root: started by jw in a login": lambda guest: _started_by_jw(guest, "root"),
    "systemd, root: started by jw in a service": _started_in_a_service,
    "systemd, alice: a unit of her own": _unit_of_alice,
    "systemd, alice: systemd-run --user --scope": lambda guest: _started_by_jw(guest, "alice", SCOPE),
    "systemd, alice: a unit of the host, User=alice": _system_unit_of_alice,
    "systemd, bob: started by jw in a login": lambda guest: _started_by_jw(guest, "bob"),
}


if __name__ == "__main__":
    sys.exit(main())
