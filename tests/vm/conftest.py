"""A guest for all tests of a session, and agents in it."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.vm.agents import UNIT, Agent
from tests.vm.code import pack
from tests.vm.guest import Guest, GuestError
from tests.vm.recipe import TREE, build, missing

_failed: list[str] = []
_running: list[Guest] = []


@pytest.fixture(scope="session")
def guest() -> Iterator[Guest]:
    """The guest, up; its folder with the console log is kept if a test failed."""
    if reason := missing():
        pytest.skip(f"no virtual machine: {reason}")
    if kept := os.environ.get("JOBWORKER_VM_GUEST"):  # of `python -m tests.vm.shell --keep`
        guest = Guest(Path(kept), build(), Path(kept) / "code.tar")
        assert guest.attach(), f"JOBWORKER_VM_GUEST: no guest runs in {kept}"
        pack(TREE, Path(kept) / "code.tar")
        guest.unpack()
        guest.run(f"systemctl disable --now {UNIT}; pkill -KILL -f '[j]obworker/(keeper|pump)'", check=False)
        _running.append(guest)
        yield guest
        return
    folder = Path(tempfile.mkdtemp(prefix="jobworker-vm-"))
    pack(TREE, folder / "code.tar")
    guest = Guest(folder, build(), folder / "code.tar")
    _running.append(guest)
    try:
        guest.boot()
        yield guest
    finally:
        guest.stop()
        _running.clear()
        for name in ("disk.qcow2", "code.tar"):
            (folder / name).unlink(missing_ok=True)
        if _failed or sys.exc_info()[0]:
            print(f"console of the guest: {guest.console}", file=sys.stderr)
        else:
            shutil.rmtree(folder)


@pytest.fixture
def unit(guest: Guest) -> Iterator[Agent]:
    """The agent of the host, as `jw agent install --systemd` makes it a service; the next test uses it again."""
    agent = Agent(guest, "/var/lib/jobworker", unit=UNIT)
    if agent.systemctl(f"is-active {UNIT}", check=False) != "active":
        agent.remove()
        agent.install_service()
    yield agent
    agent.stop_all()


@pytest.fixture
def no_service(guest: Guest) -> None:
    """Leave the port to another agent."""
    guest.run(f"systemctl disable --now {UNIT}", check=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add what the guest knows to the report of a test that failed in it."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.failed and _running:
        _failed.append(item.nodeid)
        guest = _running[0]
        report.sections.append(("guest", f"console: {guest.console}\n{_journal(guest)}"))
    return report  # type: ignore[return-value]


def _journal(guest: Guest) -> str:
    try:
        return guest.run("journalctl --no-pager -n 60; tail -n 20 /var/lib/jobworker/keeper.log", check=False).stdout
    except (GuestError, OSError) as error:
        return str(error)
