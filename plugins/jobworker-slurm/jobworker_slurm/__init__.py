"""Executor `slurm`: jobs run on the nodes of a Slurm cluster, by the commands sbatch, squeue and scancel."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from jobworker.interfaces import Executor, PluginContext, hookimpl, positive
from jobworker_slurm.executor import Slurm
from jobworker_slurm.programs import Programs

CONF = "/etc/slurm/slurm.conf"
KILL_WAIT = 30.0  # seconds: Slurm's default


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[plugins.slurm]`.

    `folder`: a folder that this host and all nodes share, in which each job gets one; absolute. `python`: the
    interpreter on the nodes, 3.11 or later; the runner needs nothing else there. `conf`: the file slurm.conf, if the
    programs of Slurm do not find it themselves. `timeout`: the longest time for one call of such a program.
    `kill_wait`: `KillWait` of Slurm in seconds; 0: what slurm.conf here has, and later what the controller reports.
    """

    folder: str
    python: str = "/usr/bin/python3"
    conf: str = ""
    timeout: str | int | float = 10
    kill_wait: float = 0

    def __post_init__(self) -> None:
        for name, path in (("folder", self.folder), ("python", self.python), ("conf", self.conf or "/")):
            if not path.startswith("/"):
                raise ValueError(f"{name}: {path!r}; expected an absolute path")
        positive(self.timeout, "timeout")
        if self.kill_wait < 0:
            raise ValueError(f"kill_wait: {self.kill_wait:g}; expected seconds")


@hookimpl
def register_executors(context: PluginContext[Settings]) -> Iterable[Executor]:
    settings = context.settings
    programs = Programs(settings.conf, positive(settings.timeout, "timeout"))
    kill_wait = settings.kill_wait or kill_wait_of(settings.conf)
    return [Slurm(settings.folder, settings.python, kill_wait, programs, context.log)]


def kill_wait_of(conf: str) -> float:
    """Return the KillWait of slurm.conf; Slurm's own default if there is none, or no file on this host."""
    try:
        text = Path(conf or os.environ.get("SLURM_CONF", CONF)).read_text(errors="replace")
    except OSError:
        return KILL_WAIT
    found = re.findall(r"^\s*KillWait\s*=\s*(\d+)", text, re.MULTILINE | re.IGNORECASE)
    return float(found[-1]) if found else KILL_WAIT
