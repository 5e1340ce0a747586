"""Agents in a cgroup that was not delegated to them: jobs run, and the cgroup stays as it was found."""

import json
from collections.abc import Iterator

import pytest
from tests.vm.agents import INSIDE, Agent
from tests.vm.guest import Guest

pytestmark = pytest.mark.vm
LOOK = f"python3 {INSIDE}/cgroups.py"
SERVICE = "systemd-run --wait --pipe --quiet -p KillMode=process -p TasksMax=infinity"
# Where the local agent is started from: a command that executes its arguments, and the user that `jw` runs as.
PLACES = {
    "root's service": (f"{SERVICE} --", "root"),
    "root's login shell": ("su - root -c", "root"),
    "bob's service": (f"{SERVICE} --uid=bob --", "bob"),
    "bob's login shell": ("su - bob -c", "bob"),
}


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name != "bob's login shell")) for name in PLACES]
)
def place(guest: Guest, request: pytest.FixtureRequest) -> Iterator[tuple[str, Agent]]:
    under, user = PLACES[request.param]
    agent = Agent(guest, "/root/local" if user == "root" else f"/home/{user}/local", user=user)
    yield under, agent
    agent.remove()


def test_jobs_run_and_the_cgroup_is_left_alone(place: tuple[str, Agent]) -> None:
    under, agent = place
    lines = [
        f"export PATH=/opt/jobworker/bin:$PATH JOBWORKER_HOME={agent.home}",
        LOOK,
        "jw run -w / -- echo hello",
        LOOK,
        "jw agent info --json",
        "jw run -d -w / --name artist -- sh -c 'trap : TERM; setsid sleep 99001 & while :; do sleep 1; done'",
        "jw stop -q --grace 500ms artist",
        "jw agent stop --jobs",
        LOOK,
    ]
    script = "/opt/vm/place.sh"
    agent.guest.write(script, "\n".join(["#!/bin/bash -e", *lines, ""]), mode=0o755)
    done = agent.guest.run(f"{under} {script}", timeout=300)
    before, hello, during, info, *_, after = done.stdout.splitlines()
    assert hello == "hello"
    assert json.loads(before) == json.loads(during) == json.loads(after)
    capabilities = json.loads(info)["capabilities"]
    if capabilities["stop"] != "cgroup":  # of a cgroup that is delegated elsewhere it may have been made
        assert capabilities["limits"] == []
        assert "was not delegated to this agent" in capabilities["missing"]["cgroup"]
        assert "jw agent install --systemd" in capabilities["missing"]["cgroup"]
    assert agent.guest.run("pgrep -c -f '^sleep 99001$'", check=False).stdout.strip() == "0"
