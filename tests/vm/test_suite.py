"""Parts of the ordinary suite, run inside the guest: as a service with a cgroup of its own, and without.

`JOBWORKER_VM_PASSED=FILE` goes on after a run that was cut off: what has passed is listed there, and not run again.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.vm.code import TREE
from tests.vm.guest import Guest
from tests.vm.recipe import VENV

from jobworker.testing.deadlines import VARIABLE

pytestmark = [pytest.mark.vm, pytest.mark.slow]
HOUR = 3600.0
PASSED = os.environ.get("JOBWORKER_VM_PASSED")
SLOWNESS = 10  # of the emulated guest, beside other work of the host: one start of an agent there took 48 s
HANGS = 240 * SLOWNESS  # seconds for one test; see faulthandler_timeout in pyproject.toml


def run_suite(guest: Guest, words: str, *, delegate: bool = True, timeout: float = HOUR) -> str:
    """Run pytest in the guest's copy of the tree with these words; fail with the end of its output, or return it."""
    service = f"systemd-run --wait --pipe --quiet -p WorkingDirectory={TREE} -p TasksMax=infinity -E HOME=/root"
    service += f" -E {VARIABLE}={SLOWNESS} -p LimitNOFILE=65536" + (" -p Delegate=yes" if delegate else "")
    pytest_ = f"{VENV}/bin/python -m pytest -q -p no:cacheprovider -o faulthandler_timeout={HANGS}"
    done = guest.run(f"{service} -- {pytest_} -m 'not slow and not vm' {words}", check=False, timeout=timeout)
    if done.code:
        pytest.fail("\n".join(done.stdout.splitlines()[-150:]) + done.stderr, pytrace=False)
    return done.stdout


PARTS = {  # what depends on kernel, cgroups and systemd; the rest has nothing new to find here
    "limits": ["wire/test_limits.py", "wire/test_update_limits.py", "wire/test_usage.py"],
    "cgroups": ["keeper/test_cgroups.py", "wire/test_strays.py", "wire/test_pause.py"],
    "keeper": ["keeper/test_signal.py", "keeper/test_launch.py", "keeper/test_namespace.py"],
    "escapes": ["promises/test_3_stops.py"],
}
PARTS["not_delegated"] = PARTS["cgroups"]


def passed() -> str:
    """Return what the list of a former run has, a line for each file of a part."""
    return Path(PASSED).read_text() if PASSED and Path(PASSED).exists() else ""


def runs() -> Iterator[Any]:
    """Yield part and file; what is listed is skipped before a guest is booted for it."""
    for part, file in [(part, file) for part, files in PARTS.items() for file in files]:
        marks = [pytest.mark.skip(reason=f"{PASSED} lists it")] if f"{part} {file}\n" in passed() else []
        yield pytest.param(part, file, id=f"{part}-{Path(file).stem}", marks=marks)


@pytest.mark.parametrize(("part", "file"), [*runs()])
def test_part(guest: Guest, part: str, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Print how many tests have passed, and why others were skipped."""
    output = run_suite(guest, f"tests/{file}", delegate=part != "not_delegated")
    with capsys.disabled():
        print(f"\n{part} {file}", *re.findall(r"^SKIPPED .*|^\d+ passed.*", output, re.MULTILINE), sep="\n  ")
    if PASSED:
        with open(PASSED, "a") as list_:
            list_.write(f"{part} {file}\n")
