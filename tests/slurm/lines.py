"""The fifteen figures of jobs on Slurm: each function tries one promise on a real cluster and returns a line.

`test_acceptance.py` runs them as tests, `run.py` prints them. A promise that is broken raises AssertionError.
"""

import asyncio
import hashlib
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.slurm.cluster import NODES
from tests.slurm.program import output
from tests.slurm.site import Site, Tally, until

SAVED = 9.0  # seconds after which the controller has a job on its disk; it writes at most every 5 s
COUNTER = 'trap "" TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done'  # ends only by SIGKILL


def whole(tally: Tally, count: int) -> str:
    """Return the figures of jobs that must all have ended as they were to; raise if one has not."""
    line = (
        f"jobs={count} finished={tally.finished} lost={tally.lost} dup_runs={tally.dup_runs}"
        f" bytes_diff={tally.bytes_diff} code_diff={tally.code_diff}"
    )
    assert (tally.finished, tally.lost, tally.other) == (count, 0, 0), f"{line}: {tally.why}"
    assert (tally.dup_runs, tally.bytes_diff, tally.code_diff) == (0, 0, 0), line
    return line


async def nodes(site: Site) -> str:
    assert site.cluster.seconds <= 20
    return f"slurm nodes={len(NODES)} up={site.cluster.seconds:.1f} s"


async def many_jobs(site: Site, count: int = 200) -> str:
    began = time.monotonic()
    jobs = await asyncio.gather(*(site.program(code=number % 5) for number in range(count)))
    tally = await site.compare(jobs)
    line = f"{whole(tally, count)} nodes={dict(sorted(tally.nodes.items()))} wall={time.monotonic() - began:.1f} s"
    assert all(tally.nodes.get(node, 0) >= count // 4 for node in NODES), line
    return line


async def latency(site: Site, count: int = 10) -> str:
    """From the call that starts a job to its state `running`, one after the other."""
    took = []
    for _ in range(count):
        began = time.monotonic()
        job = await site.start(["true"])
        await site.until_state(job, "running", "exited", "failed", "lost")
        took.append(time.monotonic() - began)
    return f"submit_to_run p50={statistics.median(took) * 1000:.0f} ms max={max(took) * 1000:.0f} ms"


async def tail(site: Site) -> str:
    """Follow a log while the job runs."""
    job = await site.program(seconds=6, out=1_600_320, err=0, code=7)
    data, state = b"", ""
    async for chunk in await site.client.subscribe(job.id, 0):
        data += chunk.data
        if not state and len(data) >= job.out // 2:
            state = (await site.status(job.id))["state"]
    equal = hashlib.sha256(data).digest() == hashlib.sha256(output(job.name, job.out)).digest()
    status = await site.end(job.id)
    assert (equal, state) == (True, "running")
    assert status["exit"]["code"] == 7
    return f"tail running: bytes={len(data)} sha=equal, half of them while it ran"


async def agent_killed(site: Site, count: int = 20) -> str:
    jobs = await asyncio.gather(*(site.program(seconds=6, code=number % 5) for number in range(count)))
    await asyncio.gather(*map(site.began, jobs[: count // 2]))
    running = sum((site.notes / job.name).exists() for job in jobs)
    await site.restart()
    return f"agent kill -9 with {running} begun: {whole(await site.compare(jobs), count)}"


async def controller_killed(site: Site, count: int = 6) -> str:
    jobs = await asyncio.gather(*(site.program(seconds=SAVED + 9) for _ in range(count)))
    await asyncio.gather(*map(site.began, jobs))
    await asyncio.sleep(SAVED)
    site.cluster.kill_controller()
    await asyncio.sleep(5)
    states = {(await site.status(job.id))["state"] for job in jobs}
    site.cluster.start_controller()
    assert states == {"running"}
    return f"slurmctld kill -9, jobs older than {SAVED - 1:g} s, down 5 s: {whole(await site.compare(jobs), count)}"


async def controller_killed_early(site: Site, count: int = 6) -> str:
    """Slurm may forget and kill these jobs; each must be known to be lost, or finished, and none may run twice."""
    jobs = list(await asyncio.gather(*(site.program(seconds=3) for _ in range(count))))
    await asyncio.sleep(1.5)
    site.cluster.kill_controller()
    await asyncio.sleep(1)
    site.cluster.start_controller()
    site.cluster.resume()
    more = [await site.program() for _ in range(2)]  # which get ids that were given before
    site.cluster.resume()
    tally, after = await site.compare(jobs), await site.compare(more)
    site.cluster.renew()
    silent = count - tally.finished - tally.lost - tally.other
    line = (
        f"slurmctld kill -9 within 2 s of submit: finished={tally.finished} lost={tally.lost + tally.other}"
        f" silent={silent} dup={tally.dup_runs + after.dup_runs}, afterwards {after.finished + after.lost} of 2"
    )
    assert (silent, tally.dup_runs, after.dup_runs, tally.bytes_diff, tally.code_diff) == (0, 0, 0, 0, 0), line
    return line


async def controller_down(site: Site) -> str:
    site.cluster.kill_controller()
    began = time.monotonic()
    job = await site.program(code=3)
    took = time.monotonic() - began
    await asyncio.sleep(6)  # the first attempt is over
    state = (await site.status(job.id))["state"]
    site.cluster.start_controller()
    line = whole(await site.compare([job]), 1)
    assert took <= 10
    assert state in ("created", "queued")
    return f"submit while slurmctld is down: {state} in {took:.1f} s, then {line}"


async def slurmd_killed(site: Site) -> str:
    jobs = [await site.program(seconds=6, node=node) for node in NODES]
    await asyncio.gather(*map(site.began, jobs))
    killed = site.cluster.kill_on("n1", "slurmd")
    await asyncio.sleep(3)
    site.cluster.restart_slurmd("n1")
    assert killed
    return f"slurmd kill -9: {whole(await site.compare(jobs), 2)}"


async def stepd_killed(site: Site) -> str:
    """Without slurmstepd Slurm takes the job for cancelled while it runs."""
    pids = site.notes / "stepd"
    job = await site.start(["sh", "-c", f"echo $$ > {pids}; exec sleep 1000"], {"nodelist": "n1"})
    await site.until_state(job, "running")
    await until(_nonempty(pids), "the job does not begin")
    assert site.cluster.kill_on("n1", "slurmstepd")
    await asyncio.sleep(3)
    assert (await site.status(job))["state"] == "running"
    await site.client.stop(job)
    survivors = site.cluster.count("n1", "sleep 1000")
    status = await site.status(job)
    assert (status["state"], status["exit"]["reason"], survivors) == ("exited", "stopped", 0)
    return f"slurmstepd kill -9, then stop: stopped, survivors={survivors}"


async def node_killed(site: Site) -> str:
    on_it = [await site.program(seconds=300, node="n1") for _ in range(2)]
    other = await site.program(seconds=12, node="n2")
    await asyncio.gather(*map(site.began, [*on_it, other]))
    began = time.monotonic()
    site.cluster.kill_node("n1")
    ends = [await site.end(job.id) for job in on_it]
    took = time.monotonic() - began
    site.cluster.start_node("n1")
    line = whole(await site.compare([other]), 1)
    assert {end["state"] for end in ends} == {"lost"}, ends
    runs = sum((site.notes / job.name).read_text().count("began") for job in on_it)
    assert runs == 2
    return f"node kill: lost=2 requeued=0 detect={took:.1f} s; on the other: {line}"


async def drained(site: Site) -> str:
    job = await site.program(seconds=4, node="n1")
    await site.began(job)
    site.cluster.run("scontrol", "update", "nodename=n1", "state=drain", "reason=test")
    waiting = await site.program(node="n1")
    line = whole(await site.compare([job]), 1)
    state = (await site.status(waiting.id))["state"]
    site.cluster.run("scontrol", "update", "nodename=n1", "state=resume")
    assert state == "queued"
    return f"drain: running: {line}; waiting: {state}, then {whole(await site.compare([waiting]), 1)}"


async def signals(site: Site) -> str:
    """TERM and USR1 are counted by the program; STOP, CONT and KILL show in its state."""
    received = site.notes / "signals"
    script = (
        "import signal, time\n"
        f"file = open({str(received)!r}, 'a', buffering=1)\n"
        "for name in ('SIGTERM', 'SIGUSR1', 'SIGCONT'):\n"
        "    signal.signal(getattr(signal, name), lambda n, _: print(signal.Signals(n).name, file=file))\n"
        "print('ready', file=file)\n"
        "while True: time.sleep(1)\n"
    )
    program = site.notes / "signals.py"
    program.write_text(script)
    job = await site.start(["python3", "-S", str(program)])
    await site.until_state(job, "running")
    await until(_lines(received, 1), "the job does not begin")
    for number, name in enumerate(("SIGTERM", "SIGUSR1"), start=2):
        assert await site.client.signal(job, name, "main") == 1
        await until(_lines(received, number), f"{name} does not arrive")
    await site.client.pause(job)
    assert (await site.status(job))["state"] == "paused"
    await site.client.resume(job)
    await until(_lines(received, 4), "SIGCONT does not arrive")
    assert await site.client.signal(job, "SIGKILL", "all") >= 1
    status = await site.end(job)
    assert received.read_text().split() == ["ready", "SIGTERM", "SIGUSR1", "SIGCONT"]
    assert status["exit"]["signal"] == "SIGKILL"
    return "signals TERM USR1 STOP CONT KILL: delivered once, exit recorded"


async def ignores_term(site: Site) -> str:
    """Slurm itself cancels a job that ignores SIGTERM: its exit is recorded before Slurm kills the runner."""
    job = await site.start(["sh", "-c", COUNTER])
    await site.until_state(job, "running")
    await until(_logged(site, job), "the job writes nothing")
    tag = next(line for line in site.cluster.run("squeue", "-ho", "%i %j").split("\n") if line.endswith(job)).split()
    site.cluster.run("scancel", tag[0])
    status = await site.end(job)
    log = (await site.log(job))["stdout"]
    assert status["exit"]["signal"] == "SIGKILL", status["exit"]
    assert log == b"".join(b"%d\n" % n for n in range(1, log.count(b"\n") + 1))
    exit_ = status["exit"]
    return f"TERM-ignoring job, scancel: exit recorded, signal={exit_['signal']}, reason={exit_['reason']}"


async def double_fork(site: Site) -> str:
    """A daemon that leaves its parents and its session, which Slurm's linuxproc loses."""
    pids = site.notes / "daemon"
    leave = f"setsid sh -c '(sh -c \"echo \\$\\$ > {pids}; exec sleep 1001\" &)' & wait; exec sleep 1002"
    job = await site.start(["sh", "-c", leave], {"nodelist": "n2"})
    await site.until_state(job, "running")
    await until(_nonempty(pids), "the daemon does not begin")
    await site.client.stop(job)
    survivors = site.cluster.count("n2", "sleep 1001") + site.cluster.count("n2", "sleep 1002")
    receipt = (await site.status(job))["exit"]["receipt"]
    assert survivors == 0
    assert receipt["survivors"] == []
    return f"double-fork: survivors={survivors}, proof={receipt['proof']}"


LINES = (
    nodes,
    many_jobs,
    latency,
    tail,
    agent_killed,
    controller_killed,
    controller_killed_early,
    controller_down,
    slurmd_killed,
    stepd_killed,
    node_killed,
    drained,
    signals,
    ignores_term,
    double_fork,
)


def _nonempty(path: Path) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return path.exists() and path.stat().st_size > 0

    return look


def _lines(path: Path, count: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return path.exists() and path.read_text().count("\n") >= count

    return look


def _logged(site: Site, job: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return bool((await site.log(job))["stdout"])

    return look
