"""Create a plugin distribution from templates, for `jw plugins new`.

The files in files/ are templates with the placeholders `$name`, `$module` and `$title`.
"""

import re
from importlib.resources import files
from pathlib import Path
from string import Template

from jobworker.plugin.loader import installed

KINDS = ("auth-provider", "authorizer", "stop-strategy", "timeout-policy", "observer")
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
MAX_NAME_CHARACTERS = 40


def write(name: str, kind: str, folder: Path) -> Path:
    """Write the distribution `jobworker-NAME` and return its folder; raise ValueError."""
    if kind not in KINDS:
        raise ValueError(f"--kind: {kind!r}; expected one of {', '.join(KINDS)}")
    if not NAME.fullmatch(name) or len(name) > MAX_NAME_CHARACTERS:
        raise ValueError(f"{name[:80]!r}; expected lower-case letters, digits and hyphens, as my-plugin")
    if name in (plugins := installed()):
        raise ValueError(
            f"{name}: a plugin of this name is installed, by {plugins[name][0][1].package}; expected another"
        )
    made = folder / f"jobworker-{name}"
    if made.exists():
        raise ValueError(f"{made} exists; expected another name, or --out DIR")
    module = f"jobworker_{name.replace('-', '_')}"
    words = {"name": name, "module": module, "title": "".join(part.title() for part in name.split("-"))}
    (made / "tests").mkdir(parents=True)
    for target, source in {
        "pyproject.toml": "pyproject.toml",
        "README.md": f"{kind}.md",
        f"{module}.py": f"{kind}.py",
        "tests/conftest.py": "conftest.py",
        f"tests/test_{module.removeprefix('jobworker_')}.py": f"test-{kind}.py",
    }.items():
        text = (files(__package__) / "files" / f"{source}.txt").read_text(encoding="utf-8")
        (made / target).write_text(Template(text).substitute(words), encoding="utf-8")
    return made
