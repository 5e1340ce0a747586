"""The executor: submit a job once, find it by its tag, poll all jobs with one command.

A tag is the job's name in Slurm. The ids of Slurm's are hints: after a crash of the controller they are given again.
"""

import calendar
import logging
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from jobworker.interfaces import ExecutorUnavailable, JobworkerError, Need, Phase, Sighting
from jobworker_slurm import options as site
from jobworker_slurm.programs import Programs, Refused

# %r last: a site's plugin may give any reason.
COLUMNS = "JobID:|,Name:|,State:|,NodeList:|,StartTime:|,exit_code:|,Reason:|"
QUEUED = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
GONE = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
GONE |= {"REVOKED", "TIMEOUT"}


class Slurm:
    """The executor `slurm`."""

    name = "slurm"

    def __init__(self, folder: str, python: str, kill_wait: float, programs: Programs, log: logging.Logger) -> None:
        self.folder = folder
        self.python = python
        self.kill_grace = kill_wait
        self.users = os.geteuid() == 0  # for root Slurm starts jobs as other users
        self._programs = programs
        self._log = log
        self._asked = False  # the controller was asked for its KillWait

    def check(self, options: Mapping[str, Any]) -> None:
        site.check(options)

    async def submit(
        self, tag: str, command: Sequence[str], folder: str, need: Need, options: Mapping[str, Any]
    ) -> str:
        """Have Slurm run the command on a node; return the job id.

        The batch step's process is the command itself, because of the exec. A job that Slurm starts again, which it
        must not, would find the runner's claim.
        """
        script = f'#!/bin/sh\nexport JOBWORKER_NODE="$SLURMD_NODENAME"\nexec {shlex.join(command)}\n'
        # What the runner itself has to report, before it has a journal. Slurm makes the file as the job's user.
        out = f"{folder}/runner.log"
        argv = ["sbatch", "--parsable", "--no-requeue", f"--job-name={tag}", f"--output={out}", "--open-mode=append"]
        argv += ["--chdir=/", "--export=ALL", *site.arguments(need, options)]
        answer = await self._programs.run(argv, script)
        return answer.strip().partition(";")[0]  # `ID;CLUSTER` in a federation

    async def find(self, prefix: str) -> Mapping[str, str]:
        """Return the ids of all jobs that Slurm knows whose names begin so, by name; the newest of one name."""
        await self._ask_kill_wait()
        found: dict[str, str] = {}
        for row in await self._rows([]):
            if row[1].startswith(prefix) and _number(row[0]) > _number(found.get(row[1], "")):
                found[row[1]] = row[0]
        return found

    async def poll(self, jobs: Mapping[str, str]) -> Mapping[str, Sighting]:
        """Return what Slurm believes of these jobs; without those that it does not know, or knows by another name."""
        ids = sorted({id_ for id_ in jobs.values() if _number(id_)})  # one word that it cannot read: no answer at all
        if not ids:
            return {}
        try:
            rows = await self._rows([f"--jobs={','.join(ids)}"])
        except Refused as error:
            if len(ids) == 1 and "invalid job id" in error.message.lower():  # it does not know it
                return {}
            raise ExecutorUnavailable(error.message) from None
        return {row[1]: _sighting(row) for row in rows if jobs.get(row[1]) == row[0]}

    async def ring(self, tag: str, engine_id: str) -> None:
        """Have the runner, which is the batch step, read its control folder at once."""
        await self._signal("--batch", "--signal=USR2", f"--name={tag}", engine_id)

    async def cancel(self, tag: str, engine_id: str) -> None:
        """Cancel a job: CONT and TERM now, KILL after KillWait; one that waits is gone at once."""
        await self._signal(f"--name={tag}", engine_id)

    async def _signal(self, *arguments: str) -> None:
        with suppress(Refused):  # it has ended, or was forgotten
            await self._programs.run(["scancel", *arguments])

    async def _rows(self, which: list[str]) -> list[list[str]]:
        """Return the jobs that Slurm knows, ended ones too, as lists of the COLUMNS."""
        mine = [] if self.users else ["--me"]
        argv = ["squeue", "--noheader", "--states=all", "--array", *mine, f"--Format={COLUMNS}", *which]
        lines = (await self._programs.run(argv, TZ="UTC")).splitlines()  # squeue prints times in this zone
        rows = [line.split("|", 6) for line in lines]
        return [row for row in rows if len(row) == 7]

    async def _ask_kill_wait(self) -> None:
        """Ask the controller once how long it waits between TERM and KILL."""
        if self._asked:
            return
        try:
            config = await self._programs.run(["scontrol", "show", "config"])
        except JobworkerError as error:
            self._log.warning("KillWait is not known and taken for %g s: %s", self.kill_grace, error.message)
            return
        self._asked = True
        for line in config.splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "KillWait" and value.split()[:1]:
                with suppress(ValueError):
                    self.kill_grace = float(value.split()[0])


def _sighting(row: list[str]) -> Sighting:
    _, _, state, node, starts, code, reason = row
    reason = reason.rstrip("|")
    if state in QUEUED:
        return Sighting(Phase.QUEUED, "", reason if reason != "None" else "", _moment(starts))
    if state in RUNNING:
        return Sighting(Phase.RUNNING, node)
    if state in GONE:
        status = _number(code)
        return Sighting(
            Phase.GONE, node, state, None, status >> 8 if not status & 127 else None, status & 127 or None
        )
    return Sighting(Phase.UNKNOWN, node, state)


def _moment(text: str) -> float | None:
    """Return seconds since 1970 for a time of squeue, None if it does not know it."""
    try:
        return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return None


def _number(text: str) -> int:
    """Return a job id as a number: the ids of an array's tasks have more than one."""
    digits = text.partition("_")[0]
    return int(digits) if digits.isdigit() else 0
