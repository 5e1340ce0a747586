"""The host goes down with jobs running, in order or not: no exit is invented, and the agent serves afterwards."""

import pytest
from tests.vm.agents import Agent

pytestmark = [pytest.mark.vm, pytest.mark.slow]
STUBBORN = "trap '' TERM HUP; echo up; while :; do sleep 1; done"


def _start(unit: Agent) -> tuple[str, list[str]]:
    """Return a job that has exited with 3, and jobs that run."""
    ended = unit.start("echo kept; exit 3")
    unit.jw(f"wait {ended}", check=False)
    running = [unit.start(STUBBORN, "-m 64M"), unit.start("exec sleep 1000")]
    unit.guest.run("sync")
    return ended, running


def _check(unit: Agent, ended: str) -> None:
    unit.wait_ready()
    exited = unit.status(ended)
    assert (exited["state"], exited["exit"]["code"]) == ("exited", 3)
    assert unit.jw(f"logs {ended}").stdout == "kept\n"
    assert unit.jw("run -w / -- echo again").stdout == "again\n"
    assert unit.guest.run("systemctl --failed --plain --no-legend").stdout == ""
    restarts = unit.guest.run("systemctl show -p NRestarts --value dbus systemd-logind systemd-journald vm-control")
    assert set(restarts.stdout.split()) == {"0"}, "a process that is no job of ours was signalled"


def test_reboot(unit: Agent) -> None:
    ended, running = _start(unit)
    unit.guest.reboot()
    _check(unit, ended)
    for job in running:
        status = unit.status(job)
        # The host signals all processes as it goes down; a keeper that sees its job die of that reports the truth.
        assert status["state"] == "lost" or status["exit"]["signal"] in ("SIGTERM", "SIGKILL"), status


def test_power_cut(unit: Agent) -> None:
    ended, running = _start(unit)
    unit.guest.power_cut()
    _check(unit, ended)
    for job in running:
        assert unit.status(job)["state"] == "lost"
