"""The agent as the first process of a container: signals, orphans of others, and an end that takes all with it."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.container import Container, lacking
from tests.support.waiting import DEADLINE

from jobworker import preflight
from jobworker.client.local import wait_gone

pytestmark = pytest.mark.skipif(bool(lacking()), reason=lacking() or "containers can be made")


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    made = Container(tmp_path)
    yield made
    made.clean()


def test_a_stop_before_it_serves(container: Container) -> None:
    """A stop during the start is handled, although the kernel drops such signals to pid 1."""
    container.start()

    def holds_signals() -> bool:
        try:
            status = Path(f"/proc/{container.pid}/status").read_text()
        except (OSError, IndexError):
            return False
        # Exactly these: the shell before it blocks all for a moment.
        held = sum(1 << number - 1 for number in preflight.HANDLED)
        return int(status.partition("SigBlk:")[2].split()[0], 16) == held

    container.until(holds_signals, "the agent holds signals back until it serves")
    assert container.end() == 0
    assert "ending; running jobs: stop" in container.output


def test_orphans_of_others_and_jobs_of_a_dead_keeper(container: Container) -> None:
    """Reap what an engine's `exec` left behind, and none of it in place of a job's exact exit."""
    container.start()
    container.listening()
    job = container.jw("run", "-d", "sh", "-c", "while ! [ -e /tmp/go ]; do sleep 0.05; done; exit 7").stdout.strip()
    keeper = json.loads(container.jw("agent", "info", "--json").stdout)["keeper"]["pid"]
    # Both lose their parent at once; the second has the session of the first process, as plain `exec` gives it.
    container.exec("sh", "-c", "(setsid sh -c 'sleep 0.2; exit 4' &) ; (sh -c 'sleep 0.2; exit 5' &)")
    container.exec("kill", "-KILL", str(keeper))
    container.exec("sh", "-c", "(setsid sh -c 'exit 6' &) ; touch /tmp/go")
    assert container.jw("wait", job).returncode == 7
    container.until(lambda: "Z" not in container.states(), "no zombie is left")
    assert container.end() == 0


def test_last_output_at_the_end_of_the_container(container: Container) -> None:
    """What a job writes at SIGTERM is in its log when the container is gone, even if the pump is slow."""
    container.start()
    container.listening()
    script = "exec 2>/dev/null; trap 'head -c 50000 /dev/zero; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    job = container.jw("run", "-d", "sh", "-c", script).stdout.strip()
    container.until(lambda: container.jw("logs", job).stdout == "ready\n", "the trap is set")
    pump = json.loads(container.jw("agent", "info", "--json").stdout)["keeper"]["pump"]
    assert container.process is not None
    container.exec("kill", "-STOP", str(pump))
    os.kill(container.pid, signal.SIGTERM)
    container.until(lambda: '"ended"' in (container.state / "journal").read_text(), "the job has ended")
    with pytest.raises(subprocess.TimeoutExpired):  # there is nothing to see of an agent that waits
        container.process.wait(2)
    container.exec("kill", "-CONT", str(pump))
    assert container.ended() == 0
    container.start()
    container.listening()
    ended = json.loads(container.jw("status", job, "--json").stdout)
    assert (ended["exit"]["code"], ended["exit"]["reason"]) == (5, "shutdown")
    assert ended["log"]["bytes"] == len("ready\n") + 50_000
    assert not ended["log"]["truncated"]


def test_jobs_cannot_be_left(container: Container) -> None:
    """They would be killed with the container, so they are stopped, and the agent logs the reason."""
    container.start()
    container.listening()
    job = container.jw("run", "-d", "sleep", "600").stdout.strip()
    container.jw("agent", "stop")  # which ends with the container it is in
    assert container.ended() == 0
    assert "cannot be left running" in container.output
    container.start()
    container.listening()
    ended = json.loads(container.jw("status", job, "--json").stdout)
    assert (ended["exit"]["signal"], ended["exit"]["reason"]) == ("SIGTERM", "shutdown")


def test_container_that_is_killed(container: Container) -> None:
    """Its jobs are lost; a process of the next container with the same pid is not signalled."""
    container.start()
    container.listening()
    job = container.jw("run", "-d", "sleep", "600").stdout.strip()
    pid = json.loads(container.jw("status", job, "--json").stdout)["pid"]
    container.end(signal.SIGKILL)
    taker = f"while :; do sleep 4343 & [ $! -ge {pid} ] && break; kill $!; done"
    container.before = f"({taker})\n"
    container.start()
    container.listening()
    ended = json.loads(container.jw("status", job, "--json").stdout)
    assert (ended["state"], ended["exit"]["code"], ended["exit"]["signal"]) == ("lost", None, None)
    assert container.jw("stop", job).returncode != 0
    assert container.exec("cat", f"/proc/{pid}/cmdline").stdout.startswith("sleep\x004343")


def test_stop_of_a_job_of_another_user(container: Container) -> None:
    """Root without CAP_SYS_PTRACE, as engines make it, still finds what has left session and parent."""
    container.start()
    container.listening()
    job = container.jw(
        "run", "-u", "nobody", "-d", "sh", "-c", "(setsid sleep 4242 &); exec sleep 4242"
    ).stdout.strip()
    container.until(lambda: len(container.commands("sleep 4242")) == 2, "both run")
    (one, _) = found = container.commands("sleep 4242")
    assert os.stat(f"/proc/{one}").st_uid != 0
    assert container.jw("stop", job).returncode == 0
    assert all(wait_gone(pid, DEADLINE) for pid in found)
    assert container.end() == 0
