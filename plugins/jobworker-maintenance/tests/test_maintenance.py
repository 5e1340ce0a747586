"""Test `maintenance` against the contract of timeout policies, by dates, and with an agent."""

import json
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import jobworker_maintenance
import pytest

from jobworker.errors import StartError
from jobworker.interfaces import RunFacts
from jobworker.testing import TimeoutPolicyContract, load

NIGHT = {"begin": "22:00", "end": "04:00", "zone": "Europe/Berlin"}


class TestContract(TimeoutPolicyContract):
    policy = load(jobworker_maintenance, NIGHT).timeout_policies["maintenance"]
    accepted = ({}, {"begin": "00:00"}, {"begin": "23:59", "end": "23:58", "zone": "Asia/Kolkata", "days": ["mon"]})
    refused = (
        {"end": "04:00"},
        {"begin": "24:00"},
        {"begin": "9:00"},
        {"begin": "1\u0662:00"},
        {"begin": 22},
        {"begin": "22:00", "zone": "Mars/Olympus"},
        {"begin": "22:00", "zone": "../../etc/passwd"},
        {"begin": "22:00", "days": ["someday"]},
        {"begin": "22:00", "days": "mon"},
    )


@pytest.mark.parametrize(
    ("options", "started", "stops"),
    [
        ({}, "2030-01-15T10:00:00+01:00", "2030-01-15T22:00:00+01:00"),
        ({}, "2030-01-15T21:59:59+01:00", "2030-01-15T22:00:00+01:00"),
        ({}, "2030-01-15T23:00:00+01:00", "2030-01-15T23:00:00+01:00"),
        ({}, "2030-01-16T03:59:59+01:00", "2030-01-16T03:59:59+01:00"),
        ({}, "2030-01-16T04:00:00+01:00", "2030-01-16T22:00:00+01:00"),
        ({}, "2030-03-31T01:30:00+01:00", "2030-03-31T01:30:00+01:00"),  # in this night 02:30 does not exist
        ({}, "2030-07-01T12:00:00Z", "2030-07-01T20:00:00Z"),
        ({"begin": "22:00"}, "2030-01-15T23:00:00Z", "2030-01-16T22:00:00Z"),
        ({"begin": "02:30", "zone": "Europe/Berlin"}, "2030-03-31T01:59:00+01:00", "2030-03-31T01:30:00Z"),
        ({"begin": "22:00", "days": ["sat"]}, "2030-01-15T10:00:00Z", "2030-01-19T22:00:00Z"),
        ({"begin": "22:00", "days": ["tue"]}, "2030-01-15T23:00:00Z", "2030-01-22T22:00:00Z"),
        ({"begin": "22:00", "end": "04:00", "days": ["mon"]}, "2030-01-15T01:00:00Z", "2030-01-15T01:00:00Z"),
    ],
)
def test_when_a_job_is_stopped(options: dict[str, object], started: str, stops: str) -> None:
    """`due` returns the same moment whenever it is called."""
    start = datetime.fromisoformat(started).timestamp()
    for later in (0.0, 1800.0):
        facts = RunFacts(now=5000.0 + later, started=5000.0, wall=start + later)
        due = TestContract.policy.due(options, facts)
        assert due is not None
        assert datetime.fromtimestamp(start + due - 5000.0, ZoneInfo("UTC")) == datetime.fromisoformat(stops)


@pytest.mark.parametrize("table", [{}, {"begin": "soon"}, {"begin": "22:00", "zone": "?"}, {"start": "22:00"}])
def test_settings_that_cannot_be_used(table: dict[str, str]) -> None:
    with pytest.raises(StartError, match=r"\[plugins.maintenance\]"):
        load(jobworker_maintenance, table)


def test_with_an_agent(jobworker_agent) -> None:
    """A job that is started within the window is stopped, whatever its spec has."""
    now = datetime.now(ZoneInfo("UTC"))
    begin, end = (now - timedelta(hours=1)).strftime("%H:%M"), (now + timedelta(hours=1)).strftime("%H:%M")
    config = f"""
        [plugins.maintenance]
        begin = "{begin}"
        end = "{end}"
        [jobs]
        timeout_policies = [{{policy = "maintenance"}}]
    """
    agent = jobworker_agent(config, plugins=["maintenance"])
    assert agent.jw("run", "--name", "late", "--timeout", "none", "--", "sleep", "1000").returncode == 124
    ended = json.loads(agent.jw("status", "--json", "late").stdout)["exit"]
    assert (ended["reason"], ended["by"]) == ("timeout", "maintenance")
