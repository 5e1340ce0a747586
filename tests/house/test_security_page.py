"""The page on security: each defence names a test that exists; the locked dependencies are those of the project."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests import audit

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/explanation/security.md").read_text().partition("| Threat | Defence | Test |\n")[2]
LOCKS = {"requirements.txt": ["jwt", "regex"], "requirements-mcp.txt": ["jwt", "mcp", "regex"]}  # with their extras


def test_each_defence_has_a_test() -> None:
    """By file and name; one that is renamed or removed is missed here."""
    rows = TABLE.splitlines()[1:]
    assert len(rows) > 30
    for row in rows:
        found = re.fullmatch(r"\| [^|]+ \| [^|]+ \| `([\w/]+)::(test_\w+)` \|", row)
        assert found, row
        source = (ROOT / f"tests/{found[1]}.py").read_text()
        assert re.search(rf"^(async )?def {found[2]}\(", source, re.MULTILINE), row


@pytest.mark.parametrize("lock", LOCKS)
def test_each_locked_dependency_has_hashes(lock: str) -> None:
    for entry in re.split(r"\n(?=\S)", (ROOT / "packaging" / lock).read_text()):
        if not entry.startswith("#"):
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_is_complete(lock: str) -> None:
    """It has what the project needs, what that needs, and so on, in versions that they accept."""
    text = (ROOT / "packaging" / lock).read_text()
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [one for extra in LOCKS[lock] for one in project["optional-dependencies"][extra]]
    wanted = [Requirement(one) for one in [*project["dependencies"], *extras]]
    looked_at: set[tuple[str, str]] = set()
    while wanted:
        one = wanted.pop()
        name = canonicalize_name(one.name)
        assert name in pinned, f"{one}: run the command in packaging/{lock}"
        assert one.specifier.contains(pinned[name]), f"{one}: {pinned[name]} is locked"
        for extra in one.extras or {""}:
            if (name, extra) in looked_at:
                continue
            looked_at.add((name, extra))
            for inner in map(Requirement, requires(name) or []):
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    wanted.append(inner)


@pytest.mark.parametrize(
    ("found", "line", "good"),
    [
        ("no route", "skipped, not compared with the known vulnerabilities: no route", True),
        ([{"name": "a", "skip_reason": "not found"}], "skipped, no database has any of its 1 dependencies", True),
        ([{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": ""}], "in 1 of 2", True),
        ([{"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}]}], "a 1: CVE-1", False),
    ],
)
def test_what_an_audit_found(found: Any, line: str, good: bool) -> None:
    """A known vulnerability fails it; what cannot be compared is skipped, and the line has the reason."""
    text, fine = audit.judge("lock", found)
    assert (line in text, fine) == (True, good)
