"""The short form of `make torture`: nothing is lost, doubled, reordered, invented or short in silence."""

import random
from pathlib import Path

import pytest
from tests.torture import cuts, faults, once, stops, volume
from tests.torture.outcome import Outcome, broken

SEED = random.randrange(1_000_000)  # printed with a failure


def judge(outcome: Outcome) -> None:
    print(outcome.row())
    assert broken([outcome]) == []


async def test_pump(tmp_path: Path) -> None:
    """Each stream of a job arrives whole and in order over many deaths of the pump."""
    outcome = await faults.pump_dies(tmp_path / "t", SEED, 10, 2_000_000)
    judge(outcome)
    assert (outcome.kills, outcome.marked, outcome.statuses) == (10, 0, {"exact": 1})


async def test_agent(tmp_path: Path) -> None:
    """Jobs do not notice the death of the agent; followers miss no byte; every exit is exact."""
    outcome = await faults.agent_dies(tmp_path / "t", 4, 8, 200_000)
    judge(outcome)
    assert (outcome.kills, outcome.marked, outcome.statuses) == (4, 0, {"exact": 8})


async def test_jobs_end_while_the_agent_is_down(tmp_path: Path) -> None:
    outcome = await faults.jobs_end_while_the_agent_is_down(tmp_path / "t", 20)
    judge(outcome)
    assert outcome.statuses == {"exact": 20 + len(faults.SIGNALS)}


@pytest.mark.slow
@pytest.mark.parametrize("source", ["ancestor", "kernel", "nobody"])
async def test_keeper(tmp_path: Path, source: str) -> None:
    """A status comes from whoever has it; where nobody has, the job is lost, never 0 and never 137."""
    outcome = await faults.keeper_dies(tmp_path / "t", 2, 8, source)
    judge(outcome)
    if source == "ancestor":
        assert outcome.statuses == {"exact": 16}
    if source == "nobody":
        assert outcome.statuses == {"lost": 16}


@pytest.mark.slow
async def test_several(tmp_path: Path) -> None:
    """Jobs that outlive the gap lose nothing; those that end in it may be short and then say so."""
    orders = random.Random(SEED).sample(faults.ORDERS, 3)
    judge(await faults.several_die(tmp_path / "t", SEED, [*orders, ("keeper", "pump")], 400_000))


@pytest.mark.slow
async def test_every_order(tmp_path: Path) -> None:
    judge(await faults.several_die(tmp_path / "t", SEED, faults.ORDERS, 400_000))


async def test_nothing_is_left_of_many_jobs(tmp_path: Path) -> None:
    """No descriptor, thread, child, FIFO or cgroup more than before; running jobs are taken up again."""
    judge(await volume.many_jobs(tmp_path / "t", 300, 20))


@pytest.mark.slow
@pytest.mark.parametrize("process", ["keeper", "pump", "agent"])
async def test_once(tmp_path: Path, process: str) -> None:
    """Whichever call it dies at, a job is run at most once, ended at most once, and its exit is the true one."""
    outcome = await once.killed_at_every_call(tmp_path / "t", process)
    judge(outcome)
    assert outcome.kills > 20
    if process != "keeper":
        assert set(outcome.statuses) == {"exact"}


async def test_stops(tmp_path: Path) -> None:
    """Whoever tries to get away is gone when the stop answers, as far as the means it names can tell."""
    judge(await stops.trees_are_stopped(tmp_path / "t", 5, blind=False))


async def test_starts_and_stops_meet(tmp_path: Path) -> None:
    """A job that is stopped in the moment of its start runs once, ends once, and says why."""
    outcome = await stops.starts_and_stops_meet(tmp_path / "t", SEED, 100)
    judge(outcome)
    assert outcome.kills == 100


@pytest.mark.slow
async def test_limits_due_together(tmp_path: Path) -> None:
    """None fires early, and all of them fire."""
    outcome = await stops.limits_are_due_together(tmp_path / "t", 100)
    judge(outcome)
    assert outcome.kills == 100


async def test_cuts(tmp_path: Path) -> None:
    """Who resumes at the next byte has every byte once, but for those that it was told are gone."""
    outcome = await cuts.connections_are_cut(tmp_path / "t", SEED, 60, 2)
    judge(outcome)
    assert outcome.kills >= 60
    assert outcome.statuses == {"exact": 6}


async def test_ends(tmp_path: Path) -> None:
    """Who subscribes in the moment of an exit hears all of it: every byte and one end, with the exit."""
    outcome = await cuts.subscriptions_meet_exits(tmp_path / "t", SEED, 100)
    judge(outcome)
    assert outcome.statuses == {"exact": 100}
