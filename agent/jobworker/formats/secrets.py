"""The secrets of a job that has not ended, in a file of the run folder, which is in memory: values by variable.

A value that the job reads from a file has a name that begins with `/`: the variable has the path.
"""

import json
import os
from collections.abc import Mapping

FOLDER = "secrets"  # in the run folder
FILES = "files"  # the folder with those that jobs read from files; of root the end of its name
IN_FILE = "/"  # begins the name of such a value
MIN_BYTES = 4  # of a value: the masks of a shorter one would reveal it
MAX_BYTES = 16384  # of all values of a job: what may be part of one waits in the job's pipe, which has 64 KiB


def secrets_path(run: str, job: str) -> str:
    """Return the path of the file of a job."""
    return f"{run}/{FOLDER}/{job}"


def encode(values: Mapping[str, str]) -> bytes:
    """Return the content of the file. Surrogates stand for bytes that are not UTF-8."""
    return json.dumps(dict(values)).encode()


def read_secrets(path: str) -> dict[str, str]:
    """Return the values in a file; raise OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        values = json.loads(file.read())
    return {str(name): str(value) for name, value in values.items()}


def variables(values: Mapping[str, str]) -> dict[str, str]:
    """Return the values that are variables of the job."""
    return {name: value for name, value in values.items() if not name.startswith(IN_FILE)}


def in_files(values: Mapping[str, str]) -> dict[str, str]:
    """Return the values that the job reads from files, by variable."""
    return {name[len(IN_FILE) :]: value for name, value in values.items() if name.startswith(IN_FILE)}
