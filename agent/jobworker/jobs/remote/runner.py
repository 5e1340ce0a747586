"""Put the runner where all nodes find it: the code of keeper and pump, which needs the standard library alone."""

import os
import secrets
import shutil
from pathlib import Path

from jobworker.formats.code import ROOMS, ROOT, checksum
from jobworker.paths import sync_folder

PROGRAM = "keeper/one_job.py"


def program(folder: str, agent: str) -> str:
    """Return the path of the runner."""
    return str(_place(folder, agent) / "jobworker" / PROGRAM)


def _place(folder: str, agent: str) -> Path:
    return Path(folder) / agent / f"runner-{checksum():08x}"


def prepare(folder: str, agent: str, *, users: bool) -> None:
    """Make the agent's folder in the shared one, with the runner. Blocking; raises OSError.

    `users`: jobs may run as another user than the agent's, who must reach both.
    """
    own = Path(folder) / agent
    own.mkdir(mode=0o700, exist_ok=True)
    if users:
        own.chmod(0o711)  # not by mkdir: the agent's umask is 077
    place = _place(folder, agent)
    if not place.is_dir():
        _copy(own, place)


def _copy(own: Path, place: Path) -> None:
    """Copy beside the place and rename, so that it is whole or not there."""
    draft = own / f".runner-{os.getpid()}-{secrets.token_hex(4)}"
    root = draft / "jobworker"
    for room in ROOMS:
        shutil.copytree(f"{ROOT}/{room}", root / room, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "__init__.py").write_text("")
    for path in (draft, *draft.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    try:
        draft.rename(place)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        if not place.is_dir():  # else another agent's process was quicker
            raise
    sync_folder(own)
