"""The executor `slurm` alone against a real Slurm: submit, find, poll, ring, cancel."""

import asyncio
import os
import sys
import time
from pathlib import Path

import jobworker_slurm
import pytest
from tests.slurm.cluster import Cluster

from jobworker.errors import StartError
from jobworker.interfaces import Executor, ExecutorUnavailable, Need, Phase, Sighting
from jobworker.testing import check_executor, load

pytestmark = pytest.mark.slow
NOTHING = Need(cpus=None, memory=None, seconds=None, uid=None, gid=None)


def executor(cluster: Cluster, folder: Path) -> Executor:
    settings = {"folder": str(folder), "conf": cluster.env["SLURM_CONF"]}
    return load(jobworker_slurm, settings).executors["slurm"]


def test_the_contract(cluster: Cluster, tmp_path: Path) -> None:
    settings = {"folder": str(tmp_path), "conf": cluster.env["SLURM_CONF"], "python": sys.executable}
    check_executor(load(jobworker_slurm, settings).executors["slurm"], {"partition": "main"})


async def until(slurm: Executor, jobs: dict[str, str], phase: Phase) -> dict[str, Sighting]:
    """Return what Slurm believes, when it believes this of all."""
    end = time.monotonic() + 60
    while True:
        seen = dict(await slurm.poll(jobs))
        if len(seen) == len(jobs) and all(sighting.phase == phase for sighting in seen.values()):
            return seen
        assert time.monotonic() < end, seen
        await asyncio.sleep(0.2)


async def test_a_job_from_its_submission_to_its_end(cluster: Cluster, tmp_path: Path) -> None:
    slurm = executor(cluster, tmp_path)
    assert await slurm.find("jw-plugin-") == {}
    assert slurm.kill_grace == cluster.kill_wait
    script = 'trap "exit 3" USR2; echo $$ > "$0/pid"; env > "$0/env"; while :; do sleep 0.1; done'
    command = ["/bin/sh", "-c", script, str(tmp_path)]
    id_ = await slurm.submit("jw-plugin-a", command, str(tmp_path), NOTHING, {"partition": "main"})
    jobs = {"jw-plugin-a": id_}
    assert dict(await slurm.find("jw-plugin-")) == jobs
    seen = await until(slurm, jobs, Phase.RUNNING)
    assert seen["jw-plugin-a"].node in ("n1", "n2")
    assert await slurm.poll({"another tag": id_}) == {}
    end = time.monotonic() + 30
    while not (tmp_path / "env").exists() or "SLURM_JOB_ID" not in (tmp_path / "env").read_text():
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
    variables = (tmp_path / "env").read_text()
    assert f"SLURM_JOB_ID={id_}\n" in variables
    assert "PYTEST_CURRENT_TEST" not in variables
    await slurm.ring("another tag", id_)  # reaches nothing
    await slurm.ring("jw-plugin-a", id_)
    seen = await until(slurm, jobs, Phase.GONE)
    assert (seen["jw-plugin-a"].exit_code, seen["jw-plugin-a"].reason) == (3, "FAILED")


async def test_a_job_that_is_cancelled(cluster: Cluster, tmp_path: Path) -> None:
    """One that waits, one that runs; the tag keeps a stranger's job alive."""
    slurm = executor(cluster, tmp_path)
    busy = {"exclusive": True}
    first = await slurm.submit("jw-plugin-b", ["sleep", "1000"], str(tmp_path), NOTHING, busy | {"nodelist": "n1"})
    await until(slurm, {"jw-plugin-b": first}, Phase.RUNNING)
    second = await slurm.submit("jw-plugin-c", ["sleep", "1000"], str(tmp_path), NOTHING, busy | {"nodelist": "n1"})
    seen = await until(slurm, {"jw-plugin-c": second}, Phase.QUEUED)
    assert seen["jw-plugin-c"].reason in ("", "Resources", "Priority", "ReqNodeNotAvail")
    await slurm.cancel("jw-plugin-c", second)
    assert (await until(slurm, {"jw-plugin-c": second}, Phase.GONE))["jw-plugin-c"].reason == "CANCELLED"
    await slurm.cancel("jw-plugin-c", first)
    assert (await slurm.poll({"jw-plugin-b": first}))["jw-plugin-b"].phase == Phase.RUNNING
    await slurm.cancel("jw-plugin-b", first)
    await until(slurm, {"jw-plugin-b": first}, Phase.GONE)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"partition": "nope"}, "partition"), ({"gres": "gpu:1"}, "gres"), ({"bla": "1"}, "unrecognized option")],
)
async def test_what_slurm_refuses(cluster: Cluster, tmp_path: Path, options: dict[str, str], words: str) -> None:
    with pytest.raises(StartError, match=words):
        await executor(cluster, tmp_path).submit("jw-plugin-d", ["true"], str(tmp_path), NOTHING, options)


async def test_as_another_user(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "of-nobody"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    for parent in folder.parents[:-2]:
        parent.chmod(0o755)
    slurm = executor(cluster, folder)
    script = ["/bin/sh", "-c", 'id -u > "$0/uid"', str(folder)]
    as_nobody = Need(cpus=1, memory=1 << 20, seconds=60, uid=65534, gid=65534)
    id_ = await slurm.submit("jw-plugin-e", script, str(folder), as_nobody, {})
    await until(slurm, {"jw-plugin-e": id_}, Phase.GONE)
    assert (folder / "uid").read_text() == "65534\n"


async def test_while_the_controller_is_down(cluster: Cluster, tmp_path: Path) -> None:
    slurm = load(
        jobworker_slurm, {"folder": str(tmp_path), "conf": cluster.env["SLURM_CONF"], "timeout": 3}
    ).executors["slurm"]
    cluster.kill_controller()
    for call in (
        slurm.submit("jw-plugin-f", ["true"], str(tmp_path), NOTHING, {}),
        slurm.find("jw-"),
        slurm.poll({"jw-plugin-f": "1"}),
        slurm.cancel("jw-plugin-f", "1"),
    ):
        with pytest.raises(ExecutorUnavailable):
            await call
