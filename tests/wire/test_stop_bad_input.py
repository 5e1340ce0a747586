"""Stops and limits that cannot be: a clear error, and neither the job nor the agent is harmed."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.wire import Wire

pytestmark = pytest.mark.usefixtures("unharmed")


async def running(wire: "Wire", **spec: Any) -> str:
    return str((await wire.run(argv=["sleep", "1000"], **spec))["id"])


async def still_runs(wire: "Wire", job: str) -> None:
    """The job is as it was, and can be stopped."""
    assert (await wire.ask("job.status", id=job))["state"] == "running"
    ended = (await wire.ask("job.stop", id=job))["exit"]
    assert (ended["signal"], ended["reason"], ended["receipt"]["survivors"]) == ("SIGTERM", "stopped", [])


@pytest.mark.parametrize(
    ("stop", "code", "field", "said"),
    [
        ({"strategy": "nicely"}, 40001, "stop.strategy", ["nicely", "command, graceful, input, kill, ladder"]),
        ({"strategy": ""}, 40001, "stop.strategy", ["graceful"]),
        ({"strategy": "x" * 10000}, 40001, "stop.strategy", ["graceful"]),
        ({"signal": "SIGFOO"}, 40001, "stop.signal", ["SIGFOO", "SIGTERM"]),
        ({"signal": "150"}, 40001, "stop.signal", ["150"]),
        ({"signal": "sigterms"}, 40001, "stop.signal", ["sigterms"]),
        ({"signal": "x" * 10000}, 40001, "stop.signal", ["SIGTERM"]),
        ({"grace": -1}, 40001, "stop.grace", ["-1"]),
        ({"grace": "-1s"}, 40001, "stop.grace", ["-1s"]),
        ({"grace": 1e308}, 40001, "stop.grace", ["1e+308"]),
        ({"grace": 10**400}, 40001, "stop.grace", []),
        ({"grace": "1000000h"}, 40001, "stop.grace", ["1000000h"]),
        ({"grace": "9" * 5000 + "s"}, 40001, "stop.grace", []),
        ({"grace": ""}, 40001, "stop.grace", ["seconds"]),
        ({"grace": [1]}, -32602, "stop.grace", []),
        ({"grace": True}, -32602, "stop.grace", []),
        ({"strategy": 5}, -32602, "stop.strategy", []),
        ({"options": []}, -32602, "stop.options", []),
        ({"nicely": 1}, -32602, "stop.nicely", []),
        ("kill", -32602, "stop", []),
        ({"options": {"nicely": 1}}, 42201, "stop.options", ["nicely"]),
        ({"strategy": "kill", "options": {"grace": 1}}, 42201, "stop.options", ["kill"]),
        ({"strategy": "ladder", "options": {"steps": []}}, 42201, "stop.options", ["steps"]),
        ({"strategy": "ladder", "options": {"steps": [{"signal": "TERM"}]}}, 42201, "stop.options", ["SIGKILL"]),
        (
            {"strategy": "ladder", "options": {"steps": [{"signal": "TERM", "grace": 1e308}, {"signal": "KILL"}]}},
            42201,
            "stop.options",
            ["steps[0].grace"],
        ),
        ({"strategy": "command", "options": {"argv": ["true"], "timeout": 1e308}}, 42201, "stop.options", ["1e+308"]),
    ],
    ids=lambda it: str(it)[:60],
)
async def test_a_stop_that_is_none(wire: "Wire", stop: Any, code: int, field: str, said: list[str]) -> None:
    """The error names the field and what was expected, in few words, and the job runs on."""
    job = await running(wire)
    error = await wire.refused("job.stop", id=job, stop=stop)
    assert (error["code"], error["data"]["field"]) == (code, field)
    assert all(word in error["message"] for word in said), error["message"]
    assert len(error["message"]) < 500
    await still_runs(wire, job)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "9" * 5000])
async def test_numbers_that_are_none(wire: "Wire", number: str) -> None:
    """What is no number in JSON is a parse error; one too large to be one is refused."""
    job = await running(wire)
    text = '{"jsonrpc": "2.0", "id": 1000, "method": "job.stop", "params": {"id": "JOB", "stop": {"grace": NUMBER}}}'
    answer = await wire.tell(text.replace("JOB", job).replace("NUMBER", number))
    assert answer["error"]["code"] in (-32700, -32602, 40001), answer
    await still_runs(wire, job)


@pytest.mark.parametrize(
    ("changes", "code", "field", "said"),
    [
        ({"timeout_policies": [{"policy": "moon"}]}, 40001, "timeout_policies", ["moon", "cpu, deadline, idle"]),
        ({"timeout": 1e308}, 40001, "timeout", ["1e+308"]),
        ({"timeout": "1000000h"}, 40001, "timeout", ["1000000h"]),
        ({"timeout": -1}, 40001, "timeout", ["-1"]),
        ({"idle_timeout": -1}, 40001, "idle_timeout", ["-1"]),
        ({"idle_timeout": 0}, 40001, "idle_timeout", ["0"]),
        ({"idle_timeout": "soon"}, 40001, "idle_timeout", ["soon"]),
        ({"timeout_policies": [{"policy": "idle"}]}, 42201, "timeout_policies", ["limit"]),
        ({"timeout_policies": [{"policy": "cpu", "options": {"limit": -1}}]}, 42201, "timeout_policies", ["-1"]),
        ({"timeout_policies": [{"policy": "cpu", "options": {"limit": "x"}}]}, 42201, "timeout_policies", ["'x'"]),
        ({"timeout_policies": [{"policy": "deadline", "options": {"at": 5}}]}, 42201, "timeout_policies", ["at"]),
        (
            {"timeout_policies": [{"policy": "deadline", "options": {"at": "2030-01-31T12:00:00"}}]},
            42201,
            "timeout_policies",
            ["zone"],
        ),
        ({"timeout_policies": [{"options": {}}]}, -32602, "timeout_policies[0].policy", []),
        ({"timeout_policies": "total"}, -32602, "timeout_policies", []),
    ],
    ids=lambda it: str(it)[:60],
)
async def test_a_limit_that_is_none(
    wire: "Wire", changes: dict[str, Any], code: int, field: str, said: list[str]
) -> None:
    """It is refused with a new job as with one that runs, which keeps the limits that it has."""
    job = await running(wire, timeout="1h")
    created: dict[str, Any] = {"spec": {"shell": ":", **changes}}
    updated: dict[str, Any] = {"id": job, **changes}
    for error in (await wire.refused("job.create", **created), await wire.refused("job.update", **updated)):
        assert error["code"] == code, error
        assert error["data"]["field"].removeprefix("spec.") == field
        assert all(word in error["message"] for word in said), error["message"]
    assert (await wire.ask("job.status", id=job))["spec"] == {"argv": ["sleep", "1000"], "timeout": "1h"}
    await still_runs(wire, job)


@pytest.mark.parametrize("method", ["job.stop", "job.pause", "job.resume", "job.signal", "job.update"])
async def test_after_the_end(wire: "Wire", method: str) -> None:
    """An ended job stays as it is; the error has its state, and the exit does not change."""
    job = (await wire.run(shell="exit 4"))["id"]
    ended = await wire.ask("job.wait", id=job)
    await wire.follow(await wire.subscribe(job))
    params: dict[str, dict[str, Any]] = {"job.signal": {"signal": "KILL"}, "job.update": {"labels": {"a": "b"}}}
    error = await wire.refused(method, id=job, **params.get(method, {}))
    assert (error["code"], error["data"]["state"]) == (40901, "exited")
    assert "exited" in error["message"]
    after = await wire.ask("job.status", id=job)
    assert (after["exit"], after["labels"]) == (ended["exit"], {})


async def test_before_the_start(wire: "Wire") -> None:
    """A job that was not started is not stopped, and can be started afterwards."""
    job = await wire.create(argv=["sleep", "1000"])
    error = await wire.refused("job.stop", id=job)
    assert (error["code"], error["data"]["state"]) == (40901, "created")
    assert (await wire.ask("job.start", id=job))["state"] == "running"
    await still_runs(wire, job)


@pytest.mark.parametrize("params", [{}, {"id": 5}, {"id": None}, {"id": ["a"]}, {"job": "a"}], ids=str)
async def test_a_stop_of_nothing(wire: "Wire", params: dict[str, Any]) -> None:
    error = await wire.refused("job.stop", **params)
    assert (error["code"], error["data"]["field"]) == (-32602, "job" if "job" in params else "id")


@pytest.mark.parametrize("job", ["", "no such", "../..", "0" * 12, "x" * 100000])
async def test_a_stop_of_no_job(wire: "Wire", job: str) -> None:
    error = await wire.refused("job.stop", id=job)
    assert (error["code"], error["data"]["reason"]) == (40401, "job_not_found")
    assert len(error["message"]) < 500


async def test_a_start_that_failed(wire: "Wire") -> None:
    """There is nothing to stop."""
    error = await wire.refused("job.start", id=await wire.create(argv=["/no/such"]))
    error = await wire.refused("job.stop", id=error["data"]["job"])
    assert (error["code"], error["data"]["state"]) == (40901, "exited")


async def test_stops_in_the_moment_of_the_exit(wire: "Wire") -> None:
    """Many stops, each with another job that is about to end by itself: answered, and the exit is one of two."""
    for _ in range(5):
        jobs = [(await wire.run(shell="read _ < /proc/self/stat; exit 7"))["id"] for _ in range(10)]
        numbers = [await wire.begin("job.stop", id=job) for job in jobs for _ in range(3)]
        for number in numbers:
            answer = await wire.answer(number)
            assert "result" in answer or answer["error"]["code"] == 40901, answer
        for job in jobs:
            ended = (await wire.ask("job.wait", id=job))["exit"]
            assert (ended["code"], ended["signal"]) in ((7, None), (None, "SIGTERM"))
            assert ended["reason"] == ("finished" if ended["by"] is None else "stopped")
