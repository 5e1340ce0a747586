"""Make the blocking client of the async one: the files of `SOURCES` are written once, with asyncio.

``python docs/generate.py`` writes them.
"""

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "agent" / "jobworker" / "client"
SOURCES = ("verbs", "agent_verbs", "commands", "process", "subscription", "events")
# Modules that both clients have, each its own.
TWINS = "commands|process|connection|inbox|subscription|events|input|agent_verbs|verbs"
HEADER = "# Made of ../{name}.py by docs/generate.py: change that file, and run it.\n"
CHANGES = (
    (r"\basync (?=def |for |with )", ""),
    (r"\bawait ", ""),
    (r"\bAsync(?=Iterator|Iterable|Generator)", ""),
    (r"\b__a(?=iter__|enter__|exit__|next__)", "__"),
    (rf"\bjobworker\.client\.({TWINS})\b", r"jobworker.client.blocking.\1"),
    (r"`blocking/(\w+)\.py` is made of this file by `docs/generate.py`\.", r"`../\1.py` is the source of this file."),
)


def blocking(name: str) -> str:
    """Return the text of a file of the blocking client."""
    text = (FOLDER / f"{name}.py").read_text()
    for pattern, replacement in CHANGES:
        text = re.sub(pattern, replacement, text)
    path = FOLDER / "blocking" / f"{name}.py"
    ruff = Path(sys.executable).parent / "ruff"
    for command in (["check", "--quiet", "--fix", "--select", "I"], ["format"]):
        done = subprocess.run(
            [ruff, *command, "--stdin-filename", path, "-"], input=text, capture_output=True, text=True, check=True
        )
        text = done.stdout
    return HEADER.format(name=name) + text


def write() -> None:
    for name in SOURCES:
        (FOLDER / "blocking" / f"{name}.py").write_text(blocking(name))


if __name__ == "__main__":
    write()
