"""A copy of the code of keeper and pump that a test changes: what another version would be."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from jobworker.formats.code import ROOMS, ROOT

NEWER = {"keeper/keeper.py": ("", "# newer\n"), "pump/pump.py": ("", "# newer\n")}


def copy_keeper(folder: Path, changes: Mapping[str, tuple[str, str]] = NEWER) -> Path:
    """Copy the code into a folder and return the file by which to start the keeper.

    `changes` are by file: what is replaced there, by what; "" stands for the end of the file.
    """
    root = folder / "jobworker"
    for room in ROOMS:
        shutil.copytree(f"{ROOT}/{room}", root / room, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "__init__.py").write_text("")
    for name, (before, after) in changes.items():
        text = (root / name).read_text()
        assert before in text, f"{name} has no {before!r}"
        (root / name).write_text(text.replace(before, after) if before else text + after)
    return root / "keeper" / "__main__.py"
