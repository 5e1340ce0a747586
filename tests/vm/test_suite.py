"""Parts of the ordinary suite, run inside the guest: as a service with a cgroup of its own, and without."""

import pytest
from tests.vm.code import TREE
from tests.vm.guest import Guest
from tests.vm.recipe import VENV

pytestmark = [pytest.mark.vm, pytest.mark.slow]
HOUR = 3600.0


def run_suite(guest: Guest, words: str, *, delegate: bool = True, timeout: float = HOUR) -> None:
    """Run pytest in the guest's copy of the tree with these words; fail with the end of its output."""
    service = f"systemd-run --wait --pipe --quiet -p WorkingDirectory={TREE} -p TasksMax=infinity -E HOME=/root"
    service += " -p LimitNOFILE=65536" + (" -p Delegate=yes" if delegate else "")
    pytest_ = f"{VENV}/bin/python -m pytest -q -p no:cacheprovider -o faulthandler_timeout=900"
    done = guest.run(f"{service} -- {pytest_} -m 'not slow and not vm' {words}", check=False, timeout=timeout)
    if done.code:
        pytest.fail("\n".join(done.stdout.splitlines()[-150:]) + done.stderr, pytrace=False)


PARTS = {  # what depends on kernel, cgroups and systemd; the rest has nothing new to find here
    "limits": "tests/wire/test_limits.py tests/wire/test_update_limits.py tests/wire/test_usage.py",
    "cgroups": "tests/keeper/test_cgroups.py tests/wire/test_strays.py tests/wire/test_pause.py",
    # Three hundred launches at once take one emulated processor longer than a keeper may be silent.
    "keeper": "tests/keeper/test_signal.py tests/keeper/test_launch.py tests/keeper/test_namespace.py "
    "--deselect tests/keeper/test_launch.py::test_many_launches_at_once",
    "escapes": "tests/promises/test_3_stops.py",
}


@pytest.mark.parametrize("part", PARTS)
def test_part(guest: Guest, part: str) -> None:
    run_suite(guest, PARTS[part])


def test_not_delegated(guest: Guest) -> None:
    run_suite(guest, PARTS["cgroups"], delegate=False)
