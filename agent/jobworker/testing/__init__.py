"""Helpers for the tests of a plugin: a real agent, a fake job, and contracts that every plugin must keep.

They need pytest. In `conftest.py`: ``pytest_plugins = ["jobworker.testing"]`` brings the fixture `jobworker_agent`.
"""

from jobworker.testing.agent import RunningAgent, jobworker_agent
from jobworker.testing.contracts import (
    AuthorizerContract,
    AuthProviderContract,
    StopStrategyContract,
    TimeoutPolicyContract,
)
from jobworker.testing.executors import check_executor
from jobworker.testing.fakes import FakeJob, make_event, make_job
from jobworker.testing.loading import load
from jobworker.testing.secret_contract import SecretProviderContract

__all__ = [
    "AuthProviderContract",
    "AuthorizerContract",
    "FakeJob",
    "RunningAgent",
    "SecretProviderContract",
    "StopStrategyContract",
    "TimeoutPolicyContract",
    "check_executor",
    "jobworker_agent",
    "load",
    "make_event",
    "make_job",
]
