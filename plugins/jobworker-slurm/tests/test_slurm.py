"""Test what of `slurm` needs no Slurm: its settings, the options of a job, and the answers of Slurm's programs."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import jobworker_slurm
import pytest
from jobworker_slurm import options
from jobworker_slurm.programs import Programs, Refused

from jobworker.errors import StartError
from jobworker.interfaces import Executor, ExecutorUnavailable, Need, Phase
from jobworker.testing import load


def need(**given: Any) -> Need:
    return Need(**({"cpus": None, "memory": None, "seconds": None, "uid": None, "gid": None} | given))


def slurm(tmp_path: Path, **programs: str) -> Executor:
    """Return the executor with programs that are shell scripts."""
    for name, script in programs.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(stat.S_IRWXU)
    loaded = load(jobworker_slurm, {"folder": str(tmp_path), "timeout": 2}).executors["slurm"]
    loaded._programs._env["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    return loaded


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "folder"),
        ({"folder": "shared"}, "absolute path"),
        ({"folder": "/x", "python": "python3"}, "absolute path"),
        ({"folder": "/x", "timeout": 0}, "timeout"),
        ({"folder": "/x", "kill_wait": -1}, "kill_wait"),
        ({"folder": "/x", "partition": "debug"}, "partition"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(StartError, match=words):
        load(jobworker_slurm, settings)


@pytest.mark.parametrize(
    "given",
    [
        {"partition": "debug", "gres": "gpu:a100:2", "nice": 10, "exclusive": True},
        {"constraint": "[rack1|rack2]&ssd", "comment": "a b 'c' \"d\" $e"},
        {},
    ],
)
def test_options_of_a_site_pass(given: dict[str, Any]) -> None:
    options.check(given)
    assert set(options.arguments(need(), given)) == {
        f"--{k}" if v is True else f"--{k}={v}" for k, v in given.items()
    }


@pytest.mark.parametrize(
    "given",
    [
        {"job-name": "x"},
        {"wrap": "rm -rf /"},
        {"uid": 0},
        {"requeue": True},
        {"Partition": "x"},
        {"-p": "x"},
        {"p=x --uid": "0"},
        {"": "x"},
        {"partition": None},
        {"partition": False},
        {"partition": ["a", "b"]},
        {"partition": {"a": 1}},
        {"partition": "a\nb"},
        {"partition": "a\0b"},
        {"partition": "x" * 2000},
    ],
)
def test_options_that_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        options.check(given)


@pytest.mark.parametrize(
    ("given", "site", "expected"),
    [
        ({"cpus": 0.5}, {}, ["--cpus-per-task=1"]),
        ({"cpus": 2.5, "memory": (1 << 30) + 1}, {}, ["--cpus-per-task=3", "--mem=1025M"]),
        ({"seconds": 61.0}, {}, ["--time=2"]),
        ({"seconds": 61.0}, {"time": "1-0"}, ["--time=1-0"]),
        ({"memory": 1}, {"mem-per-cpu": "2G"}, ["--mem-per-cpu=2G"]),
        ({"uid": 1000, "gid": 100}, {}, ["--uid=1000", "--gid=100"]),
    ],
)
def test_limits_become_options(given: dict[str, Any], site: dict[str, Any], expected: list[str]) -> None:
    assert list(options.arguments(need(**given), site)) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("ClusterName=x\nKillWait=7\n", 7), ("  killwait = 8 # seconds\n", 8), ("#KillWait=7\n", 30), ("", 30)],
)
def test_kill_wait_of_the_configuration(tmp_path: Path, text: str, seconds: int) -> None:
    conf = tmp_path / "slurm.conf"
    conf.write_text(text)
    settings = {"folder": "/x", "conf": str(conf)}
    assert load(jobworker_slurm, settings).executors["slurm"].kill_grace == seconds
    assert load(jobworker_slurm, settings | {"kill_wait": 3}).executors["slurm"].kill_grace == 3


# What the programs of Slurm 22.05 print.
REFUSALS = [
    "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed: Invalid",
    "sbatch: error: Invalid generic resource (gres) specification",
    "sbatch: unrecognized option '--bla=1'",
    "sbatch: error: Batch job submission failed: Requested node configuration is not available",
]
SILENCES = [
    "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
    "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
    "slurm_load_jobs error: Slurm backup controller in standby mode",
    "sbatch: error: If munged is up, restart with --num-threads=10\nsbatch: error: Munge encode failed: Failed",
]


@pytest.mark.parametrize("words", REFUSALS)
def test_a_refusal_has_the_words_of_slurm(tmp_path: Path, words: str) -> None:
    executor = slurm(tmp_path, sbatch=f"cat <<'E' >&2\n{words}\nE\nexit 1")
    with pytest.raises(StartError, match="sbatch") as caught:
        asyncio.run(executor.submit("jw-a", ["true"], str(tmp_path), need(), {}))
    assert words.rsplit("\n", maxsplit=1)[-1] in caught.value.message


@pytest.mark.parametrize("words", SILENCES)
def test_without_an_answer_nothing_is_known(tmp_path: Path, words: str) -> None:
    executor = slurm(tmp_path, sbatch=f"cat <<'E' >&2\n{words}\nE\nexit 1")
    with pytest.raises(ExecutorUnavailable, match="sbatch"):
        asyncio.run(executor.submit("jw-a", ["true"], str(tmp_path), need(), {}))


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    executor = slurm(tmp_path, sbatch=f"echo $$ > {tmp_path}/pid; exec sleep 1000")
    with pytest.raises(ExecutorUnavailable, match="has not answered for 2 s"):
        asyncio.run(executor.submit("jw-a", ["true"], str(tmp_path), need(), {}))
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_a_program_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(ExecutorUnavailable, match="is the Slurm client installed"):
        asyncio.run(Programs("", 5).run(["no-such-sbatch"]))


def test_what_is_submitted(tmp_path: Path) -> None:
    executor = slurm(tmp_path, sbatch='printf "%s\\n" "$@"; cat; env >&2; exit 1')
    command = ["/usr/bin/python3", "it's", "$HOME `x`", "-I"]
    with pytest.raises(Refused) as caught:
        asyncio.run(executor.submit("jw-a", command, str(tmp_path), need(cpus=1), {"partition": "a b"}))
    assert "JOBWORKER" not in caught.value.message
    assert "SBATCH" not in caught.value.message
    script = slurm(tmp_path, sbatch=f"cat > {tmp_path}/script; echo '42;cluster'")
    assert asyncio.run(script.submit("jw-a", command, str(tmp_path), need(), {})) == "42"
    text = (tmp_path / "script").read_text()
    assert text.endswith("\nexec /usr/bin/python3 'it'\"'\"'s' '$HOME `x`' -I\n")


ROWS = """\
2|jw-a|FAILED||2026-11-30T22:04:53|256|NonZeroExitCode|
4|jw-b|PENDING||2026-11-30T23:00:00|0|Resources|
5|jw-c|PENDING||N/A|0|Priority|
1|jw-d|RUNNING|n1|2026-11-30T22:04:55|0|None|
3|jw-e|TIMEOUT|n2|2026-11-30T22:04:55|9|TimeLimit|
6|jw-f|NEWSTATE|n2|2026-11-30T22:04:55|0|None|
7|other|RUNNING|n2|2026-11-30T22:04:55|0|None|
rubbish
"""


def test_what_slurm_believes(tmp_path: Path) -> None:
    """A job counts only if its name is the tag: the id may have been given to another."""
    executor = slurm(tmp_path, squeue=f"cat <<'E'\n{ROWS}E", scontrol="echo 'KillWait                = 7 sec'")
    tags = {"jw-a": "2", "jw-b": "4", "jw-c": "5", "jw-d": "1", "jw-e": "3", "jw-f": "6", "jw-g": "7", "jw-h": "9"}
    seen = asyncio.run(executor.poll(tags))
    assert {tag: sighting.phase for tag, sighting in seen.items()} == {
        "jw-a": Phase.GONE,
        "jw-b": Phase.QUEUED,
        "jw-c": Phase.QUEUED,
        "jw-d": Phase.RUNNING,
        "jw-e": Phase.GONE,
        "jw-f": Phase.UNKNOWN,
    }
    assert (seen["jw-a"].exit_code, seen["jw-a"].reason) == (1, "FAILED")
    assert (seen["jw-b"].reason, seen["jw-b"].starts) == ("Resources", 1796079600.0)
    assert seen["jw-c"].starts is None
    assert seen["jw-d"].node == "n1"
    assert (seen["jw-e"].signal, seen["jw-e"].reason) == (9, "TIMEOUT")
    assert executor.kill_grace == 30
    assert asyncio.run(executor.find("jw-"))["jw-f"] == "6"
    assert executor.kill_grace == 7


def test_ids_that_slurm_has_forgotten(tmp_path: Path) -> None:
    script = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"
    executor = slurm(tmp_path, squeue=script, scancel=script)
    assert asyncio.run(executor.poll({"jw-a": "77"})) == {}
    assert asyncio.run(executor.poll({"jw-a": "77", "jw-b": "0", "jw-c": ""})) == {}
    with pytest.raises(ExecutorUnavailable):  # it is not known which of them
        asyncio.run(executor.poll({"jw-a": "77", "jw-b": "78"}))
    asyncio.run(executor.cancel("jw-a", "77"))
    asyncio.run(executor.ring("jw-a", "77"))
