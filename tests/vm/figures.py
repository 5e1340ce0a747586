"""Print how long a guest takes from power-on to the first job, and what the keeper's trial of the host costs.

python -m tests.vm.figures          # a guest of its own, about two minutes
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.vm.agents import UNIT, Agent
from tests.vm.code import pack
from tests.vm.guest import Guest
from tests.vm.recipe import TREE, VENV, build, missing

# The State of a keeper, made as the keeper makes it: in a service, so that it has a scope and tries out its cgroups.
TRIAL = """
import os, tempfile
from jobworker.keeper.state import State
folder = tempfile.mkdtemp()
run = "/run/jobworker-0123456789ab"
os.makedirs(run, exist_ok=True)
state = State(folder, run)
assert state.cgroups.root, state.cgroups.missing
print(f"{state.trial_seconds * 1000:.1f}")
state.cgroups.remove_all()
"""
RUNS = 5


def main() -> int:
    if reason := missing():
        print(f"no virtual machine: {reason}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "code.tar"
        pack(TREE, code)
        guest = Guest(Path(folder), build(), code)
        try:
            began = time.monotonic()
            guest.boot()
            print(f"power-on to a shell: {time.monotonic() - began:.0f} s")
            agent = Agent(guest, "/var/lib/jobworker", unit=UNIT)
            agent.install_service()
            guest.reboot()
            agent.wait_ready()
            agent.jw("run -w / -- true")
            print(f"start of the kernel to the end of the first job: {uptime(guest):.0f} s")
            guest.write("/opt/vm/trial.py", TRIAL)
            print("trial of cgroups and limits (ms):", *(trial(guest) for _ in range(RUNS)))
        finally:
            guest.stop()
    return 0


def uptime(guest: Guest) -> float:
    return float(guest.run("cat /proc/uptime").stdout.split()[0])


def trial(guest: Guest) -> str:
    return guest.run(f"systemd-run --wait --pipe --quiet -- {VENV}/bin/python /opt/vm/trial.py").stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
