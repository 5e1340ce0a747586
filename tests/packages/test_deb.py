"""The Debian package: install, upgrade with a job running, an upgrade that fails, remove, purge."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.packages.debs import NEWER, Host, build, host, lacking, newer

pytestmark = pytest.mark.slow
COUNTER = "sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done'"
CONFIG = "/etc/jobworker/config.toml"
# Written by dpkg itself, or by the test.
NOT_OURS = ("var/lib/dpkg", "var/log", "var/cache", "var/lib/systemd/deb-systemd-helper", "root", "debs")


@pytest.fixture(scope="module")
def deb() -> Path:
    if reason := lacking():
        pytest.skip(f"no Debian package: {reason}")
    return build()


@pytest.fixture(scope="module")
def machine(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with both packages in /debs, of which none is installed."""
    folder = tmp_path_factory.mktemp("host")
    with host(folder) as made:
        made.run("mkdir /debs")
        for path, name in ((deb, "this.deb"), (newer(deb, folder), "newer.deb")):
            shutil.copy(path, made.changes / "debs" / name)
        yield made


def numbers(machine: Host, job: str) -> list[int]:
    return [int(line) for line in machine.run(f"jw logs {job}").stdout.split()]


def left(machine: Host) -> list[str]:
    """Return what files and folders of jobworker are on the host."""
    found = machine.run("find / -xdev -iname '*jobworker*' -o -xdev -path '*/bin/jw' -o -xdev -name 'jw.1*'").stdout
    ours = [line for line in found.splitlines() if (machine.changes / line[1:]).exists()]
    return [line for line in ours if not line[1:].startswith(NOT_OURS)]


def test_the_life_of_an_installation(machine: Host) -> None:
    """One test, as each step needs the one before."""
    machine.run("dpkg -i /debs/this.deb")
    assert machine.run("dpkg --verify jobworker").stdout == ""
    assert machine.run("jw run -- echo hello").stdout == "hello\n"
    assert machine.run("jobworker --version").stdout == machine.run("jw --version").stdout
    assert machine.run("head -c 9 /usr/share/zsh/vendor-completions/_jw").stdout == "#compdef "
    unit = machine.run("cat /lib/systemd/system/jobworker.service").stdout
    assert f"\nExecStart=/opt/jobworker/bin/jw agent run --config {CONFIG}\n" in unit
    assert machine.run("ls /etc/systemd/system/multi-user.target.wants/jobworker.service").returncode == 0

    job = machine.run(f"jw run -d --name counter -- {COUNTER}").stdout.strip()
    pid = json.loads(machine.run(f"jw status --json {job}").stdout)["pid"]
    agent = json.loads(machine.run("jw agent info --json").stdout)
    machine.run(f"printf '[server]\\nwrong = 1\\n' >{CONFIG}")  # from here on a file that its administrator changed
    failed = machine.run("dpkg -i /debs/newer.deb", check=False)
    assert failed.returncode == 1
    assert "wrong" in failed.stderr
    assert "dpkg --configure -a" in failed.stderr
    assert "half-configured" in machine.run("dpkg -s jobworker").stdout
    between = json.loads(machine.run("jw agent info --json").stdout)
    assert (between["pid"], between["version"]) == (agent["pid"], agent["version"])

    machine.run(f"printf '[events]\\nkeep = 7\\n' >{CONFIG}")
    machine.run("dpkg --configure -a")
    assert "install ok installed" in machine.run("dpkg -s jobworker").stdout
    machine.run("jw agent restart")  # as systemd is not there to do it
    assert json.loads(machine.run("jw agent info --json").stdout)["version"] == NEWER
    status = json.loads(machine.run(f"jw status --json {job}").stdout)
    assert (status["state"], status["pid"]) == ("running", pid)
    assert "keep = 7" in machine.run(f"cat {CONFIG}").stdout

    machine.run("dpkg -r jobworker")
    assert machine.run(f"kill -0 {pid}", check=False).returncode != 0
    assert "jobworker" not in machine.run("ps -eo args | grep -v dpkg").stdout
    machine.run("test -e /var/lib/jobworker/jobs.db -a ! -e /usr/bin/jw")
    machine.run("dpkg -i /debs/this.deb")  # finds the job on record, with all that it wrote
    counted = numbers(machine, job)
    assert counted == list(range(1, len(counted) + 1))
    assert len(counted) > 10
    machine.run("jw agent stop && dpkg -P jobworker")
    assert left(machine) == []
    assert machine.run("dpkg -s jobworker", check=False).returncode == 1


def test_the_same_package_twice(deb: Path) -> None:
    """From the same tree; what it holds belongs to root, whoever built it."""
    first = hashlib.sha256(deb.read_bytes()).hexdigest()
    shutil.copy(deb, deb.with_suffix(".first"))
    try:
        assert hashlib.sha256(build().read_bytes()).hexdigest() == first
    finally:
        deb.with_suffix(".first").unlink()
    listed = subprocess.run(["dpkg-deb", "-c", str(deb)], capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listed.splitlines()} == {"root/root"}
    assert not re.search(r"\.pyc|__pycache__|direct_url", listed)


def test_lintian(deb: Path) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed here")
    done = subprocess.run(["lintian", "--allow-root", str(deb)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
