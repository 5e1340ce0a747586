"""The Debian package on a host with systemd: install, upgrade with a job running, one that fails, remove, purge."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.packages.debs import NEWER, build, lacking, newer
from tests.vm.agents import ETC, SETTINGS, UNIT, Agent
from tests.vm.code import DISK_BYTES, pack
from tests.vm.guest import Guest
from tests.vm.recipe import TREE, VENV

pytestmark = [pytest.mark.vm, pytest.mark.slow]
ASIDE = f"{VENV}.tests"  # the package has the same path
COUNTER = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"
INSTALL = "DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i /opt/debs"
# What no package has brought: the guest's own environment, code and path.
OURS = (f"{ASIDE}*", "/opt/tree/*", "/root/.cache/*", "/etc/profile.d/*", "/var/lib/dpkg/*", "/opt/debs*")
LEFT = "find / -xdev -iname '*jobworker*' " + " ".join(f"-not -path '{path}'" for path in OURS)
MINUTES = 900  # seconds for dpkg, which compiles some hundred modules under emulation


@pytest.fixture
def packages(guest: Guest, tmp_path: Path) -> Iterator[Agent]:
    """A guest with two packages in /opt/debs, and nothing else of jobworker."""
    if reason := lacking():
        pytest.skip(f"no Debian package: {reason}")
    agent = Agent(guest, "/var/lib/jobworker", unit=UNIT)
    agent.remove()
    debs = tmp_path / "root/opt/debs"
    debs.mkdir(parents=True)
    this = build()
    shutil.copy(this, debs / "this.deb")
    newer(this, tmp_path).rename(debs / "newer.deb")
    tar = guest.folder / "code.tar"
    subprocess.run(["tar", "-C", str(tmp_path / "root"), "-cf", str(tar), "."], check=True)
    assert tar.stat().st_size < DISK_BYTES
    with tar.open("ab") as file:
        file.truncate(DISK_BYTES)
    guest.unpack()
    guest.run(f"rm -rf /etc/jobworker; mv {VENV} {ASIDE}; journalctl --rotate")
    try:
        yield agent
    finally:
        guest.run(f"dpkg -P jobworker; rm -rf {VENV} /etc/jobworker; mv {ASIDE} {VENV}", check=False, timeout=MINUTES)
        pack(TREE, tar)
        guest.unpack()


def test_the_life_of_a_package(packages: Agent) -> None:
    """One test, as each step needs the one before."""
    agent, guest = packages, packages.guest
    guest.run(f"{INSTALL}/this.deb", timeout=MINUTES)
    guest.write(ETC, SETTINGS)  # the test's port
    agent.systemctl(f"restart {UNIT}")
    agent.wait_ready()
    assert agent.systemctl(f"is-enabled {UNIT}") == "enabled"
    assert agent.jw("run -w / -- echo hello").stdout == "hello\n"
    first = agent.info()
    assert first["capabilities"]["stop"] == "cgroup"

    counter, limited = agent.start(COUNTER), agent.start("exec sleep 1000", "-m 64MiB")
    pids = [agent.status(job)["pid"] for job in (counter, limited)]
    guest.write(ETC, "[server]\nwrong = 1\n")
    failed = guest.run(f"{INSTALL}/newer.deb", check=False, timeout=MINUTES)
    assert failed.code == 1
    assert "wrong" in failed.stderr
    assert (agent.info()["pid"], agent.info()["version"]) == (first["pid"], first["version"])
    guest.write(ETC, SETTINGS)
    guest.run("dpkg --configure -a", timeout=MINUTES)
    agent.wait_ready()
    info = agent.info()
    assert (info["version"], info["keeper"]["pid"]) == (NEWER, first["keeper"]["pid"])
    assert info["pid"] != first["pid"]
    for job, pid in zip((counter, limited), pids, strict=True):
        assert (agent.status(job)["state"], agent.status(job)["pid"]) == ("running", pid)
    assert agent.value(limited, "memory.max") == str(64 << 20)
    assert f"the keeper (pid {info['keeper']['pid']}) was upgraded" in guest.run(f"journalctl -u {UNIT}").stdout

    guest.run(f"dpkg --force-downgrade {INSTALL.partition('dpkg ')[2]}/this.deb", timeout=MINUTES)  # and back
    agent.wait_ready()
    assert agent.info()["version"] == first["version"]
    assert agent.status(counter)["pid"] == pids[0]
    agent.systemctl(f"stop {UNIT}")  # its jobs run on; a removal ends them all the same
    guest.run("dpkg -r jobworker", timeout=MINUTES)
    for pid in [*pids, info["keeper"]["pid"]]:
        assert guest.run(f"kill -0 {pid}", check=False).code
    assert guest.run("systemctl list-units --no-legend 'jobworker*'; ls /usr/bin/jw", check=False).stdout == ""
    numbers = [int(line) for line in guest.run(f"cat /var/lib/jobworker/logs/{counter}/out").stdout.split()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 100
    guest.run("dpkg -P jobworker", timeout=MINUTES)
    assert guest.run(LEFT).stdout == ""
    assert "jobworker" not in guest.run("systemctl list-units --all --no-legend; ps -eo args").stdout
    assert guest.run("find /sys/fs/cgroup -name '*jobworker*'").stdout == ""
