"""Specs that cannot be accepted: refused with the field, the value and what was expected."""

import base64
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.wire import Wire

pytestmark = pytest.mark.usefixtures("unharmed")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "argv"),
        ({"argv": ["ls"], "shell": "ls"}, "shell"),
        ({"argv": []}, "argv"),
        ({"argv": [""]}, "argv"),
        ({"argv": ["", "x"]}, "argv"),
        ({"shell": ""}, "shell"),
        ({"argv": ["a\0b"]}, "argv"),
        ({"argv": ["a", "\0"]}, "argv"),
        ({"shell": "echo \0"}, "shell"),
        ({"shell": ":", "env": {"A": "\0"}}, "env"),
        ({"shell": ":", "env": {"A\0": "1"}}, "env"),
        ({"shell": ":", "env": {"A=B": "1"}}, "env"),
        ({"shell": ":", "env": {"": "1"}}, "env"),
        ({"shell": ":", "cwd": "tmp"}, "cwd"),
        ({"shell": ":", "cwd": ""}, "cwd"),
        ({"shell": ":", "cwd": "./x"}, "cwd"),
        ({"shell": ":", "cwd": "/tmp\0"}, "cwd"),
        ({"shell": ":", "timeout": "5x"}, "timeout"),
        ({"shell": ":", "timeout": ""}, "timeout"),
        ({"shell": ":", "timeout": "s"}, "timeout"),
        ({"shell": ":", "timeout": "-1s"}, "timeout"),
        ({"shell": ":", "timeout": "1e3s"}, "timeout"),
        ({"shell": ":", "timeout": "9" * 400 + "s"}, "timeout"),
        ({"shell": ":", "timeout": -1}, "timeout"),
        ({"shell": ":", "timeout": 0}, "timeout"),
        ({"shell": ":", "timeout": 1e99}, "timeout"),
        ({"shell": ":", "timeout": 10**30}, "timeout"),
        ({"shell": ":", "stop": {"grace": "5x"}}, "stop.grace"),
        ({"shell": ":", "stop": {"grace": -1}}, "stop.grace"),
        ({"shell": ":", "stop": {"grace": 1e99}}, "stop.grace"),
        ({"shell": ":", "stop": {"signal": "SIGFOO"}}, "stop.signal"),
        ({"shell": ":", "stop": {"signal": ""}}, "stop.signal"),
        ({"shell": ":", "stop": {"strategy": "nicely"}}, "stop.strategy"),
        ({"shell": ":", "stop": {"strategy": ""}}, "stop.strategy"),
        ({"shell": ":", "timeout_policies": [{"policy": "moon"}]}, "timeout_policies"),
        ({"shell": ":", "name": ""}, "name"),
        ({"shell": ":", "name": "a\nb"}, "name"),
        ({"shell": ":", "name": "x" * 129}, "name"),
        ({"shell": ":", "leftovers": "eat"}, "leftovers"),
        ({"shell": ":", "user": "no-such-user"}, "user"),
        ({"shell": ":", "user": ""}, "user"),
        ({"shell": ":", "user": "a\0b"}, "user"),
        ({"shell": ":", "user": 4294967296}, "user"),
        ({"shell": ":", "user": -1}, "user"),
        ({"shell": ":", "user": "4294967295"}, "user"),
        ({"shell": ":", "user": "99999999999999999999"}, "user"),
        ({"shell": ":", "group": "no-such-group"}, "group"),
        ({"shell": ":", "group": 4294967296}, "group"),
        ({"shell": ":", "umask": "8"}, "umask"),
        ({"shell": ":", "umask": ""}, "umask"),
        ({"shell": ":", "umask": "-1"}, "umask"),
        ({"shell": ":", "umask": "0o22"}, "umask"),
        ({"shell": ":", "umask": "7777"}, "umask"),
        ({"shell": ":", "umask": 512}, "umask"),
        ({"shell": ":", "umask": -1}, "umask"),
        ({"shell": ":", "nice": 20}, "nice"),
        ({"shell": ":", "nice": -21}, "nice"),
        ({"shell": ":", "rlimits": {"moon": 1}}, "rlimits.moon"),
        ({"shell": ":", "rlimits": {"NOFILE": 1}}, "rlimits.NOFILE"),
        ({"shell": ":", "rlimits": {"nofile": -1}}, "rlimits.nofile"),
        ({"shell": ":", "rlimits": {"nofile": True}}, "rlimits.nofile"),
        ({"shell": ":", "rlimits": {"nofile": 1.5}}, "rlimits.nofile"),
        ({"shell": ":", "rlimits": {"nofile": "10"}}, "rlimits.nofile"),
        ({"shell": ":", "rlimits": {"nofile": None}}, "rlimits.nofile"),
        ({"shell": ":", "rlimits": {"nofile": [1, 2]}}, "rlimits.nofile"),
        ({"shell": ":", "rlimits": {"nofile": 2**63}}, "rlimits.nofile"),
        ({"shell": ":", "rlimits": {"nofile": {"soft": 1}}}, "rlimits.nofile"),
        ({"shell": ":", "rlimits": {"nofile": {"soft": 2, "hard": 1}}}, "rlimits.nofile"),
        ({"shell": ":", "rlimits": {"nofile": {"soft": "unlimited", "hard": 1}}}, "rlimits.nofile"),
        ({"shell": ":", "rlimits": {"nofile": {"soft": 1, "hard": 2, "more": 3}}}, "rlimits.nofile"),
    ],
    ids=lambda it: str(it)[:60],
)
async def test_a_bad_spec_is_refused(wire: "Wire", spec: dict[str, Any], field: str) -> None:
    """A well-typed spec that cannot be accepted: 40001 with data.field, and no job is made."""
    newest = (await wire.ask("job.list", limit=1))["jobs"]
    error = await wire.refused("job.create", spec=spec)
    assert error["code"] == 40001
    assert error["data"]["reason"] == "invalid_spec"
    assert error["data"]["retryable"] is False
    assert error["data"]["field"] == field
    assert field in error["message"]
    assert (await wire.ask("job.list", limit=1))["jobs"] == newest


async def test_the_stop_strategies_there_are(wire: "Wire") -> None:
    """An unknown stop strategy is answered with the names of those there are."""
    error = await wire.refused("job.create", spec={"shell": ":", "stop": {"strategy": "nicely"}})
    assert all(name in error["message"] for name in ("nicely", "graceful", "kill"))


@pytest.mark.parametrize("value", ["90s", "10m", "2h", "1d", "250ms", "1.5s", 5, 0.5, None])
async def test_durations(wire: "Wire", value: Any) -> None:
    """Seconds as a number, a number with a unit, and null for no limit are accepted and kept."""
    job = await wire.ask("job.create", spec={"shell": ":", "timeout": value})
    assert job["spec"]["timeout"] == value
    await wire.ask("job.delete", id=job["id"])


@pytest.mark.parametrize(
    "spec",
    [
        {"stop": {"options": {"bogus": 1}}},
        {"stop": {"strategy": "kill", "options": {"signal": "SIGTERM"}}},
        {"stop": {"strategy": "ladder", "options": {"steps": []}}},
        {"stop": {"strategy": "ladder", "options": {"steps": [{"signal": "TERM", "grace": 1}]}}},
        {"stop": {"strategy": "ladder", "options": {"steps": [{"signal": "NO"}, {"signal": "KILL"}]}}},
        {"stop": {"strategy": "ladder", "options": {"steps": [{"grace": 1}, {"signal": "KILL"}]}}},
        {"stop": {"strategy": "ladder", "options": {"steps": [{"signal": "TERM", "grace": -1}, {"signal": "KILL"}]}}},
        {"stop": {"strategy": "ladder", "options": {"steps": "TERM"}}},
        {"stop": {"strategy": "command"}},
        {"stop": {"strategy": "command", "options": {"argv": []}}},
        {"stop": {"strategy": "command", "options": {"argv": "true"}}},
        {"stop": {"strategy": "command", "options": {"argv": ["true"], "timeout": 0}}},
        {"stop": {"strategy": "command", "options": {"argv": ["true"], "steps": []}}},
        {"timeout_policies": [{"policy": "total"}]},
        {"timeout_policies": [{"policy": "total", "options": {"limit": "5x"}}]},
        {"timeout_policies": [{"policy": "total", "options": {"limit": 0}}]},
        {"timeout_policies": [{"policy": "total", "options": {"limit": None}}]},
        {"timeout_policies": [{"policy": "total", "options": {"limit": []}}]},
        {"timeout_policies": [{"policy": "total", "options": {"limit": 1, "more": 2}}]},
        {"timeout_policies": [{"policy": "total", "options": {"limit": 1}}, {"policy": "total"}]},
    ],
    ids=str,
)
async def test_options_that_a_plugin_refuses(wire: "Wire", spec: dict[str, Any]) -> None:
    """What a strategy or a policy cannot use: 42201, in its own words."""
    error = await wire.refused("job.create", spec={"shell": ":", **spec})
    assert (error["code"], error["data"]["reason"]) == (42201, "policy_rejected")
    assert ("total" if "timeout_policies" in spec else error["message"]) in error["message"]


async def test_options_of_a_stop_are_checked_as_well(wire: "Wire") -> None:
    """`job.stop` refuses what cannot be used, and the job runs on."""
    job = await wire.run(argv=["sleep", "1000"])
    for stop, code in (
        ({"strategy": "nicely"}, 40001),
        ({"signal": "SIGFOO"}, 40001),
        ({"grace": "5x"}, 40001),
        ({"options": {"bogus": 1}}, 42201),
    ):
        assert (await wire.refused("job.stop", id=job["id"], stop=stop))["code"] == code
    assert (await wire.ask("job.status", id=job["id"]))["state"] == "running"
    await wire.ask("job.stop", id=job["id"])


@pytest.mark.parametrize(
    "field",
    [
        {"limits": {"io_read": 1}},
    ],
    ids=str,
)
async def test_what_is_not_built_yet_is_refused(wire: "Wire", field: dict[str, Any]) -> None:
    """A field of the protocol that this version does not do: 50101 with its name, never ignored."""
    error = await wire.refused("job.create", spec={"shell": ":", **field})
    assert (error["code"], error["data"]["reason"]) == (50101, "not_supported")
    assert next(iter(field)) in error["data"]["field"].split(".")


async def test_what_a_job_gets(wire: "Wire") -> None:
    """Arguments and environment arrive byte for byte; PATH, HOME, USER and LANG are the configuration's."""
    words = ["a b", "", "ä€\U0001f600", "'\"\\$(x)", "\n\t"]
    run = await wire.ask(
        "job.run", spec={"argv": ["sh", "-c", 'printf "%s|" "$@" "$V"; pwd; env', "sh", *words], "env": {"V": "ö=1"}}
    )
    text = (await wire.follow(run["subscription"])).stdout.decode()
    assert text.startswith("|".join([*words, "ö=1"]) + "|")
    env = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line[0].isupper())
    assert env["JOBWORKER_JOB_ID"] == run["job"]["id"]
    assert env["LANG"] == "C.UTF-8"
    assert env.keys() >= {"PATH", "HOME", "USER"}
    assert not env.keys() & {"JOBWORKER_HOME", "VIRTUAL_ENV", "PYTEST_CURRENT_TEST"}


async def test_bytes_in_place_of_strings(wire: "Wire") -> None:
    """Arguments, values of variables and the folder as base64: they arrive, and come back as they were given."""
    every = base64.b64encode(bytes(range(1, 256))).decode()
    spec = {
        "argv": [
            {"base64": base64.b64encode(b"sh").decode()},
            "-c",
            'printf %s "$1" "$V"; pwd',
            "sh",
            {"base64": every},
        ],
        "env": {"V": {"base64": every}},
        "cwd": {"base64": base64.b64encode(b"/tmp").decode()},
    }
    run = await wire.ask("job.run", spec=spec)
    assert (await wire.follow(run["subscription"])).stdout == bytes(range(1, 256)) * 2 + b"/tmp\n"
    assert run["job"]["spec"] == spec
    assert (await wire.ask("job.status", id=run["job"]["id"]))["spec"] == spec


@pytest.mark.parametrize(
    ("spec", "code", "field"),
    [
        ({"argv": ["a", {"base64": "!"}]}, -32602, "spec.argv[1].base64"),
        ({"argv": [{}]}, -32602, "spec.argv[0].base64"),
        ({"argv": [{"base64": "", "x": 1}]}, -32602, "spec.argv[0].x"),
        ({"argv": [{"base64": ""}]}, 40001, "argv"),
        ({"argv": [{"base64": "YQBi"}]}, 40001, "argv"),
        ({"shell": {"base64": ""}}, 40001, "shell"),
        ({"shell": ":", "env": {"A": {"base64": "AA=="}}}, 40001, "env"),
        ({"shell": ":", "cwd": {"base64": "YQ=="}}, 40001, "cwd"),
    ],
    ids=str,
)
async def test_bytes_that_cannot_be_used(wire: "Wire", spec: dict[str, Any], code: int, field: str) -> None:
    error = await wire.refused("job.create", spec=spec)
    assert (error["code"], error["data"]["field"]) == (code, field)
