"""`jw agent gc`: what it shows is what retention deletes, by reason."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from jobworker.jobs.garbage import AGE, BYTES, NUMBER, Ended, Limits, exceeding

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobworker.testing import RunningAgent

NOW = 1_800_000_000.0
DAY = 86400.0
NONE = Limits(0, 0, 0, 0)


def ended(number: int, owner: str = "a", kept: int = 10) -> Ended:
    """Return a job that ended this many days ago."""
    from jobworker.units import rfc3339

    return Ended(rfc3339(int((NOW - number * DAY) * 1e9)), f"job{number:02}{owner}", owner, kept)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (NONE, {}),
        (NONE._replace(age=8 * DAY), {"job09a": AGE, "job08a": AGE}),
        (NONE._replace(jobs=7), {"job09a": NUMBER, "job08a": NUMBER, "job07a": NUMBER}),
        (NONE._replace(bytes=90), {"job01b": BYTES}),  # the other owner has more bytes, in one job
        (NONE._replace(age=9 * DAY, jobs=8), {"job09a": AGE, "job08a": NUMBER}),
        (NONE._replace(jobs=2, min_age=8 * DAY), {"job09a": NUMBER, "job08a": NUMBER}),
        (NONE._replace(jobs=100, bytes=1000), {}),
    ],
)
def test_what_is_exceeding(limits: Limits, expected: dict[str, str]) -> None:
    """Nine jobs of one owner, and a large one of another: by each limit, the oldest of the owner with the most."""
    jobs = [*(ended(number) for number in range(1, 10)), ended(1, "b", 100)]
    assert {job.id: why for job, why in exceeding(reversed(jobs), limits, NOW)} == expected


async def test_gc(start: "Callable[..., RunningAgent]") -> None:
    """Nothing to delete, other limits, a log without a job, and what is deleted is what was shown."""
    agent = start(config="[retention]\njobs = 100\nage = 0\n")

    def jw(*words: str) -> Any:
        done = agent.jw("agent", "gc", *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    ids = [agent.jw("run", "-q", "-d", "head", "-c", "5000", "/dev/zero").stdout.strip() for _ in range(3)]
    assert agent.jw("wait", *ids).returncode == 0
    assert agent.jw("run", "true").returncode == 0
    while (kept := jw("--dry-run"))["jobs"] < 4:
        pass
    assert kept == {"garbage": [], "jobs": 4, "bytes": 15000}
    less = jw("--dry-run", "--jobs", "2")
    assert less == {"garbage": [{"reason": "jobs", "count": 2, "bytes": 10000}], "jobs": 2, "bytes": 5000}
    assert jw("--dry-run", "--bytes", "12k", "--age", "1h")["garbage"][0]["reason"] == "bytes"
    refused = agent.jw("agent", "gc", "--jobs", "1")
    assert (refused.returncode, "--jobs: other limits are for --dry-run" in refused.stderr) == (2, True)
    orphan = agent.home.logs / f"{ids[0][:-4]}zzzz"
    (agent.home.logs / ids[0]).rename(agent.home.logs / "moved")
    orphan.mkdir(mode=0o700)
    (orphan / "out").write_bytes(b"x" * 5000)
    (agent.home.logs / "moved").rename(agent.home.logs / ids[0])
    shown = jw("--dry-run")["garbage"]
    assert [(each["reason"], each["count"]) for each in shown] == [("no_job", 1)]
    assert shown[0]["bytes"] >= 5000
    assert orphan.exists()
    assert jw()["garbage"] == shown
    assert not orphan.exists()
    assert {path.name for path in agent.home.logs.iterdir()} == {*ids}
    text = agent.jw("agent", "gc", "--dry-run", "--jobs", "1")
    assert "3      14.6KiB  ended jobs beyond retention.jobs" in text.stdout
    assert "this would be deleted; kept are 1 ended jobs and 0B of logs" in text.stderr
