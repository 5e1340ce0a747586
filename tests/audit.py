"""Compare the locked dependencies with the known vulnerabilities, by pip-audit: exit 1 if one has any.

``python tests/audit.py PYTHON``, one that has pip-audit. Without a database in reach it prints why and exits 0.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCKS = ("requirements.txt", "requirements-mcp.txt")
FOLDER = Path(__file__).parents[1] / "packaging"
SECONDS = 120


def audited(python: str, lock: Path) -> list[dict[str, Any]] | str:
    """Return what is known of each dependency, or why nothing is."""
    argv = [python, "-m", "pip_audit", "--disable-pip", "--progress-spinner=off", "-f", "json", "-r", str(lock)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        return (done.stderr.strip().splitlines() or ["no answer"])[-1]


def judge(lock: str, found: list[dict[str, Any]] | str) -> tuple[str, bool]:
    """Return a line about one file, and whether it has no known vulnerability."""
    if isinstance(found, str):
        return f"{lock}: skipped, not compared with the known vulnerabilities: {found}", True
    known = [each for each in found if "skip_reason" not in each]
    if not known:
        why = found[0]["skip_reason"] if found else "it has no dependencies"
        return f"{lock}: skipped, no database has any of its {len(found)} dependencies: {why}", True
    bad = [f"{one['name']} {one['version']}: {fault['id']}" for one in known for fault in one["vulns"]]
    if bad:
        return f"{lock}: {len(bad)} known vulnerabilities:\n  " + "\n  ".join(bad), False
    return f"{lock}: no known vulnerability in {len(known)} of {len(found)} dependencies", True


def main() -> int:
    good = True
    for lock in LOCKS:
        line, fine = judge(lock, audited(sys.argv[1], FOLDER / lock))
        print(line)
        good &= fine
    return not good


if __name__ == "__main__":
    sys.exit(main())
