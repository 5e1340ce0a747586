"""`jw -c prod,stage ps`: the jobs of several agents at once."""

import json
from typing import TYPE_CHECKING

import pytest

from jobworker.paths import Home, contexts_file

if TYPE_CHECKING:
    from tests.cli.conftest import Jw
    from tests.conftest import RunningAgent


def test_several_contexts(jw: "Jw", shared: "RunningAgent", home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs of each, with its name; one that fails is reported, and the others are shown."""
    monkeypatch.setenv("JOBWORKER_HOME", str(home.path))
    home.path.mkdir(mode=0o700)
    context = {"address": shared.address, "ca": str(shared.ca), "token": shared.token}
    named = {"prod": context, "again": context, "dead": {"address": "wss://127.0.0.1:1/rpc"}}
    contexts_file().write_text(json.dumps({"version": 1, "contexts": named}))
    contexts_file().chmod(0o600)
    job = jw.out("-c", "prod", "create", "true")
    lines = jw.out("-c", "prod,again", "ps").splitlines()
    assert jw.out("-c", "prod,again", "ps", "-q").split().count(job) == 2
    assert jw("-c", "prod,again", "ps", "--watch").returncode == 2
    assert lines[0].split()[:2] == ["CONTEXT", "ID"]
    assert [line.split()[:2] for line in lines if job in line] == [["prod", job], ["again", job]]
    done = jw("-c", "prod,dead,nix,local", "ps", "--json")
    assert done.returncode == 2, "a context that there is not is a wrong command line"
    done = jw("ps", "-a", "--json", JW_CONTEXT="dead,prod")
    assert (done.returncode, "dead: wss://127.0.0.1:1/rpc cannot be reached" in done.stderr) == (6, True)
    found = json.loads(done.stdout.splitlines()[-1])["jobs"]
    assert {each["context"] for each in found} == {"prod"}
    assert job in [each["id"] for each in found]
    refused = jw("-c", "prod,again", "rm", job)
    assert (refused.returncode, "are several, for `jw ps` alone" in refused.stderr) == (2, True)
    assert jw("-c", "prod", "rm", job).returncode == 0
