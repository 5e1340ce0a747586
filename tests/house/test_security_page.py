"""The page on security: each defence names a test that exists; the locked dependencies are those of the project."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/explanation/security.md").read_text().partition("| Threat | Defence | Test |\n")[2]
LOCK = (ROOT / "packaging/requirements.txt").read_text()
PINNED = dict(re.findall(r"^([\w.-]+)==(\S+)", LOCK, re.MULTILINE))


def test_each_defence_has_a_test() -> None:
    """By file and name; one that is renamed or removed is missed here."""
    rows = TABLE.splitlines()[1:]
    assert len(rows) > 30
    for row in rows:
        found = re.fullmatch(r"\| [^|]+ \| [^|]+ \| `([\w/]+)::(test_\w+)` \|", row)
        assert found, row
        source = (ROOT / f"tests/{found[1]}.py").read_text()
        assert re.search(rf"^(async )?def {found[2]}\(", source, re.MULTILINE), row


def test_each_locked_dependency_has_hashes() -> None:
    for entry in re.split(r"\n(?=\S)", LOCK.partition("\n\n")[2] or LOCK):
        if not entry.startswith("#"):
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_the_lock_is_complete() -> None:
    """It has what the project needs, what that needs, and so on, in versions that they accept."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(text) for text in [*project["dependencies"], *project["optional-dependencies"]["jwt"]]]
    looked_at: set[tuple[str, str]] = set()
    while wanted:
        one = wanted.pop()
        name = canonicalize_name(one.name)
        assert name in PINNED, f"{one}: run the command in packaging/requirements.txt"
        assert one.specifier.contains(PINNED[name]), f"{one}: {PINNED[name]} is locked"
        for extra in one.extras or {""}:
            if (name, extra) in looked_at:
                continue
            looked_at.add((name, extra))
            for inner in map(Requirement, requires(name) or []):
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    wanted.append(inner)
