"""Roles as tables: which method on whose job, for every role; what may not be seen is not there."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import FOR_OTHERS

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Wire

CONFIG = """
[plugins.roles.private]
look = "own"
control = "own"
create = true
[plugins.roles.web]
look = "all"
control = "all"
create = true
labels = { team = "web*" }
[plugins.roles.watcher]
look = "all"
methods = ["job.status", "log.*"]
[plugins.roles.nothing]
[plugins.roles.reader]
look = "all"
"""
ROLES = ("reader", "writer", "operator", "admin", "private", "web", "watcher", "nothing")
LOOK = (
    "job.status",
    "job.stats",
    "job.explain",
    "job.wait",
    "log.subscribe",
    "log.read",
    "log.search",
    "log.lines",
    "log.sizes",
    "screen.read",
)
CONTROL = ("job.stop", "job.signal", "job.pause", "job.resume", "job.update", "job.start", "job.delete")
PARAMS: dict[str, dict[str, Any]] = {
    "job.signal": {"signal": "CONT"},
    "log.search": {"pattern": "x"},
    "job.update": {"idle_timeout": "1h"},
}
DENIED, UNSEEN = 40301, 40401


@pytest.fixture(scope="module")
def agent(start_agent: "Callable[..., RunningAgent]") -> "RunningAgent":
    return start_agent(config=CONFIG + FOR_OTHERS)


@pytest.fixture
async def people(agent: "RunningAgent", dial: "Dial") -> "AsyncIterator[dict[str, Wire]]":
    """A connection for each role, and `root`, which is the local token's."""
    async with AsyncExitStack() as stack:
        root = await stack.enter_async_context(dial(agent))
        wires = {"root": root}
        for role in ROLES:
            token = (await root.ask("token.create", name=role, roles=[role]))["token"]
            wires[role] = await stack.enter_async_context(dial(agent, token=token))
        yield wires
        for role in ROLES:
            await root.ask("token.revoke", name=role)


def sees(role: str, method: str, owner: str, labels: dict[str, str]) -> bool:
    """Return what the tables allow, written a second time by hand."""
    match role:
        case "reader" | "writer" | "operator" | "admin":
            return True
        case "private":
            return owner == role
        case "web":
            return labels.get("team", "").startswith("web")
        case "watcher":
            return method == "job.status" or method.startswith("log.")
    return False


def controls(role: str, owner: str, labels: dict[str, str]) -> bool:
    match role:
        case "operator" | "admin":
            return True
        case "writer" | "private":
            return owner == role
        case "web":
            return labels.get("team", "").startswith("web")
    return False


def expected(role: str, method: str, owner: str, labels: dict[str, str]) -> int | None:
    """Return the code with which a call is refused; None if the caller is allowed."""
    some = {"reader", "writer", "operator", "admin", "private", "web"}
    if role not in some and not (role == "watcher" and sees(role, method, owner, labels)):
        return DENIED
    if not sees(role, method, owner, labels):
        return UNSEEN
    if method in CONTROL and not controls(role, owner, labels):
        return DENIED
    return None


async def test_the_matrix(people: "dict[str, Wire]") -> None:
    """Every role, every method, own and others' jobs, with labels and without: as in the tables, harming no job."""
    jobs = {}
    for owner, labels in itertools.product(
        ("writer", "private", "web", "root"), ({}, {"team": "web-1"}, {"team": "db"})
    ):
        if owner == "web" and labels.get("team") != "web-1":
            continue
        jobs[owner, labels.get("team")] = await people[owner].create(argv=["true"], labels=labels)
    cells = violations = 0
    for role, method, ((owner, team), job) in itertools.product(ROLES, (*LOOK, *CONTROL), jobs.items()):
        wanted = expected(role, method, owner, {"team": team} if team else {})
        if wanted is None and method in ("job.start", "job.delete", "job.wait"):
            continue  # these would change it, or wait for ever
        params = {"id": job} | PARAMS.get(method, {})
        answer = await people[role].answer(await people[role].begin(method, **params))
        code = answer.get("error", {}).get("code")
        if method == "log.subscribe" and code is None:
            await people[role].ask("log.unsubscribe", subscription=answer["result"]["subscription"])
        cells += 1
        violations += code != wanted if wanted else code in (DENIED, UNSEEN)
    print(f"{cells} cells, {violations} violations")
    assert (cells > 850, violations) == (True, 0)
    for job in jobs.values():
        assert (await people["root"].ask("job.status", id=job))["state"] == "created"
        await people["root"].ask("job.delete", id=job)


async def test_what_may_not_be_seen_is_not_there(people: "dict[str, Wire]") -> None:
    """A foreign job answers word for word like one that does not exist, in every method, in lists and events."""
    private = people["private"]
    await private.ask("event.subscribe")
    foreign = (await people["root"].run(argv=["sleep", "1000"]))["id"]
    missing = foreign[:-1] + ("1" if foreign[-1] != "1" else "2")
    for method in (*LOOK, *CONTROL):
        params = PARAMS.get(method, {})
        errors = [await private.refused(method, id=job, **params) for job in (foreign, missing)]
        assert errors[0]["data"].pop("ref") != errors[1]["data"].pop("ref"), "the ids of the requests"
        assert str(errors[0]).replace(foreign, "ID") == str(errors[1]).replace(missing, "ID")
        assert errors[0]["code"] == UNSEEN
    mine = (await private.run(argv=["true"]))["id"]
    assert [job["id"] for job in (await private.ask("job.list"))["jobs"]] == [mine]
    assert [job["id"] for job in (await private.ask("job.list", owner="token:local"))["jobs"]] == []
    await private.until_event(mine, "exited")
    assert {event["job"]["id"] for event in private.events} == {mine}
    await people["root"].ask("job.delete", id=foreign, force=True)
    await people["root"].ask("job.delete", id=mine)


async def test_lists_by_label(people: "dict[str, Wire]") -> None:
    """Page after page without a hole, however many others there are."""
    web = []
    for number in range(12):
        team = "web-x" if number % 3 == 0 else "db"
        job = await people["root"].create(argv=["true"], labels={"team": team})
        web += [job] if team == "web-x" else []
    seen, cursor = [], None
    while True:
        page = await people["web"].ask("job.list", limit=1, **({"cursor": cursor} if cursor else {}))
        seen += [job["id"] for job in page["jobs"]]
        if (cursor := page["next"]) is None:
            break
    assert seen == web[::-1]


@pytest.mark.parametrize(("labels", "allowed"), [({"team": "web"}, True), ({"team": "db"}, False), ({}, False)])
async def test_a_job_that_its_owner_could_not_have(
    people: "dict[str, Wire]", labels: dict[str, str], allowed: bool
) -> None:
    """Labels bind what is created as well."""
    spec = {"argv": ["true"], "labels": labels}
    for method in ("job.create", "job.run"):
        answer = await people["web"].answer(await people["web"].begin(method, spec=spec))
        assert ("result" in answer) == allowed
        if not allowed:
            assert answer["error"]["code"] == DENIED
            assert "web*" in answer["error"]["message"]


async def test_a_label_that_was_changed(people: "dict[str, Wire]") -> None:
    """A role bound to labels cannot move a job out of its own sight and others' into it."""
    job = await people["web"].create(argv=["true"], labels={"team": "web"})
    assert (await people["web"].refused("job.update", id=job, labels={"team": "db"}))["code"] == DENIED
    other = await people["root"].create(argv=["true"], labels={"team": "db"})
    assert (await people["web"].refused("job.update", id=other, labels={"team": "web"}))["code"] == UNSEEN


async def test_only_admins_administer(people: "dict[str, Wire]") -> None:
    for role, (method, params) in itertools.product(
        ROLES, (("token.list", {}), ("token.create", {"name": "x", "roles": ["admin"]}), ("agent.shutdown", {}))
    ):
        if role != "admin":
            assert (await people[role].refused(method, **params))["code"] == DENIED
    assert (await people["admin"].ask("token.list"))["tokens"]


async def test_a_role_that_is_not_known(people: "dict[str, Wire]") -> None:
    """No token is created for it, and the error lists the roles."""
    error = await people["root"].refused("token.create", name="x", roles=["moon"])
    assert error["data"]["field"] == "roles"
    assert "operator" in error["message"]
    assert "watcher" in error["message"]
