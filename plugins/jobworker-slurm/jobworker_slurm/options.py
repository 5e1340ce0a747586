"""The options of a job for sbatch: those of the site pass unread, those that the executor needs are refused."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jobworker.interfaces import Need

NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
MAX_VALUE = 1000  # characters
MIB = 1 << 20
OURS = {
    "array",
    "batch",
    "chdir",
    "clusters",
    "error",
    "export",
    "export-file",
    "get-user-env",
    "gid",
    "help",
    "input",
    "job-name",
    "no-requeue",
    "open-mode",
    "output",
    "parsable",
    "quiet",
    "requeue",
    "signal",
    "test-only",
    "uid",
    "usage",
    "verbose",
    "version",
    "wait",
    "wrap",
}
EXPECTED = 'expected names of options of sbatch with a text, a number or true: {"partition": "debug"}'


def check(options: Mapping[str, Any]) -> None:
    """Raise ValueError for options that sbatch cannot be given."""
    for name, value in options.items():
        if not NAME.fullmatch(name):
            raise ValueError(f"{name[:80]!r}; {EXPECTED}")
        if name in OURS:
            raise ValueError(f"{name}: it is set by jobworker; expected an option such as partition, gres or account")
        if not isinstance(value, str | int | float) or value is False:
            raise ValueError(f"{name}: {value!r}; {EXPECTED}")
        if isinstance(value, str) and (len(value) > MAX_VALUE or not value.isprintable()):
            raise ValueError(f"{name}: {value[:80]!r}; expected printable text of at most {MAX_VALUE} characters")


def arguments(need: Need, options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the arguments of sbatch; an option of the caller comes before what the job's limits mean."""
    wanted: dict[str, str | int] = {}
    if need.cpus is not None:
        wanted["cpus-per-task"] = max(1, math.ceil(need.cpus))
    if need.memory is not None:
        wanted["mem"] = f"{max(1, math.ceil(need.memory / MIB))}M"
    if need.seconds is not None:
        wanted["time"] = max(1, math.ceil(need.seconds / 60))  # Slurm has minutes
    if {"mem-per-cpu", "mem-per-gpu"} & options.keys():
        wanted.pop("mem", None)
    for name, value in (wanted | dict(options)).items():
        yield f"--{name}" if value is True else f"--{name}={value}"
    if need.uid is not None:
        yield f"--uid={need.uid}"
        yield f"--gid={need.gid if need.gid is not None else need.uid}"
