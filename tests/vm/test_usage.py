"""What jobs use and may use, by the controllers of cgroup v2."""

import json
import shlex

import pytest
from tests.vm.agents import Agent

pytestmark = pytest.mark.vm
MIB = 1 << 20
HOLD = "python3 -c 'import time; x = bytearray(60 << 20); print(len(x), flush=True); time.sleep(1000)'"


def holding(unit: Agent, options: str = "") -> str:
    """Start a job that holds 60 MiB and return its id when it does."""
    job = unit.start(f"exec {HOLD}", options)
    wait = f"for _ in $(seq 200); do jw logs {job} | grep -q 6 && exit; sleep 0.2; done; exit 1"
    assert unit.guest.run(f"export JOBWORKER_HOME={unit.home}; {wait}", check=False).code == 0
    return job


@pytest.mark.slow
def test_what_a_job_has_used(unit: Agent) -> None:
    """All of it is counted by the job's cgroup, whether it has limits or not."""
    write = "dd if=/dev/zero of=/var/tmp/usage bs=1M count=8 conv=fsync 2>/dev/null; rm /var/tmp/usage"
    hold = "python3 -c 'x = bytearray(60 << 20)' & python3 -c 'x = bytearray(60 << 20)' & wait"
    job = unit.start(f"{write}; {hold}")
    unit.jw(f"wait {job}")
    usage = unit.status(job)["exit"]["usage"]
    assert usage["cpu_seconds"] > 0
    assert usage["io_write_bytes"] >= 8 * MIB
    assert usage["source"]["cpu"] == usage["source"]["io"] == "cgroup"
    if usage["source"].get("memory") == "cgroup":  # memory.peak: Linux 5.19
        assert 60 * MIB < usage["memory_peak"] < 400 * MIB
    else:
        assert usage["source"]["memory"] == "rusage"
    assert (usage["pids_peak"] is None) == ("pids" not in usage["source"])  # pids.peak: Linux 6.11


def test_what_a_job_uses(unit: Agent) -> None:
    job = holding(unit, "-m 300M --pids 20")
    stats = unit.jw(f"rpc job.stats id={job} processes=true").json()
    assert (stats["source"]["cpu"], stats["source"]["memory"], stats["source"]["pids"]) == ("cgroup",) * 3
    assert 60 * MIB <= stats["memory"] < 300 * MIB
    assert stats["pids"] == 1
    assert [one["name"] for one in stats["processes"]] == ["python3"]
    assert job in unit.jw("stats").stdout
    assert "python3 -c" in unit.jw(f"top {job}").stdout
    unit.jw(f"rm -f {job}")


@pytest.mark.slow
def test_limits_are_changed_at_once(unit: Agent) -> None:
    """Also of a job that was started without any."""
    for job in (unit.start("exec sleep 1000"), unit.start("exec sleep 1000", "-m 64M --pids 8 --cpus 0.5")):
        unit.jw(f"update -m 512M --pids 30 --cpus 0.25 {job}")
        assert unit.value(job, "memory.max") == str(512 * 10**6 // 4096 * 4096)
        assert unit.value(job, "memory.swap.max") == "0"
        assert unit.value(job, "pids.max") == "30"
        assert unit.value(job, "cpu.max") == "25000 100000"
        assert unit.status(job)["spec"]["limits"] == {"memory": "512M", "pids": 30, "cpus": 0.25}
        unit.jw(f"update -m none --pids none --cpus none {job}")
        assert {unit.value(job, name) for name in ("memory.max", "memory.swap.max", "pids.max")} == {"max"}
        assert unit.value(job, "cpu.max").split()[0] == "max"
        assert "limits" not in unit.status(job)["spec"]
        unit.jw(f"rm -f {job}")


@pytest.mark.slow
def test_less_memory_than_it_uses(unit: Agent) -> None:
    """Refused, for the kernel would kill it; forced, it does."""
    job = holding(unit)
    low = unit.jw(f"update -m 20M {job}", check=False)
    assert low.code == 5
    assert "would kill processes of the job" in low.stderr
    assert unit.value(job, "memory.max") == "max"
    assert unit.status(job)["state"] == "running"
    unit.jw(f"update --force -m 20M {job}", check=False)  # may be over before the answer
    unit.jw(f"wait {job}", check=False)
    exit_ = unit.status(job)["exit"]
    assert (exit_["signal"], exit_["reason"]) == ("SIGKILL", "oom")


@pytest.mark.slow
def test_cached_files_do_not_count_as_used(unit: Agent) -> None:
    """The kernel takes them back: a job that has read much may get a lower limit."""
    fill = "dd if=/dev/zero of=/var/tmp/cached bs=1M count=120 conv=fsync 2>/dev/null; echo ready; exec sleep 1000"
    job = unit.start(fill)
    wait = f"for _ in $(seq 400); do jw logs {job} | grep -q ready && exit; sleep 0.2; done; exit 1"
    assert unit.guest.run(f"export JOBWORKER_HOME={unit.home}; {wait}", check=False).code == 0
    assert int(unit.value(job, "memory.current")) > 100 * MIB
    unit.jw(f"update -m 50M {job}")
    assert unit.status(job)["state"] == "running"
    assert int(unit.value(job, "memory.current")) <= 50 * 10**6
    unit.jw(f"rm -f {job}")
    unit.guest.run("rm /var/tmp/cached")


@pytest.mark.slow
def test_rates(unit: Agent) -> None:
    """By the disk under the folder, or by number; changed at once, taken away, refused for no device."""
    disk = unit.guest.run("cat /sys/class/block/vda/dev").stdout.strip()
    job = unit.start("exec sleep 1000", "--io-read 10MiB --io-write 1M")
    assert set(unit.value(job, "io.max").split()) >= {disk, f"rbps={10 * MIB}", "wbps=1000000"}
    unit.jw(f"update --io-read none --io-write {disk}=2M {job}")
    assert set(unit.value(job, "io.max").split()) >= {disk, "rbps=max", "wbps=2000000"}
    assert unit.status(job)["spec"]["limits"] == {"io_write": {disk: "2M"}}
    unit.jw(f"update --io-write none {job}")
    assert "wbps=2000000" not in unit.value(job, "io.max")
    unit.jw(f"rm -f {job}")
    for words in ("--io-read 4095:1=1M", "-w /proc --io-read 1M"):
        done = unit.jw(f"run -w / {words} -- true", check=False)
        assert done.code == 125
        assert "block device 4095:1" in done.stderr or "/proc is not on one disk" in done.stderr, done.stderr


@pytest.mark.slow
def test_a_rate_holds(unit: Agent) -> None:
    """4 MiB at 1 MiB a second are not written in one."""
    write = "dd if=/dev/zero of=/var/tmp/slow bs=256K count=16 oflag=direct 2>/dev/null; rm /var/tmp/slow"
    command = f"run -w /var/tmp --io-write 1MiB --json --shell {shlex.quote(write)}"
    last = json.loads(unit.jw(command, timeout=300).stdout.splitlines()[-1])
    assert last["exit"]["usage"]["io_write_bytes"] >= 4 * MIB
    job = unit.jw("ps -a -q").stdout.split()[0]
    (ran,) = [line for line in unit.jw(f"status {job}").stdout.splitlines() if line.startswith("ran:")]
    assert float(ran.split()[1].removesuffix("s")) > 2


@pytest.mark.slow
def test_the_peak_in_the_reason(unit: Agent) -> None:
    eater = "python3 -c 'b\"x\" * (256 << 20)'"
    ended = unit.jw(f"run -w / -m 64MiB --json -- {eater}", check=False)
    exit_ = json.loads(ended.stdout.splitlines()[-1])["exit"]
    assert (exit_["reason"], "at the limit of 64MiB (peak 6" in exit_["message"]) == ("oom", True)
