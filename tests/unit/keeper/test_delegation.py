"""The cgroup that was given to the keeper."""

import pytest

from jobworker.linux.departure import LEAF, OURS


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("/system.slice/jobworker.service", "/system.slice/jobworker.service"),
        ("/system.slice/jobworker-main.service", "/system.slice/jobworker-main.service"),
        (f"/system.slice/jobworker.service/{LEAF}", "/system.slice/jobworker.service"),
        (f"/system.slice/jobworker-0123456789ab.scope/{LEAF}", "/system.slice/jobworker-0123456789ab.scope"),
        ("/a.scope/jobworker-0123456789ab/00d25c4hengw", "/a.scope"),
        ("/a.scope/jobworker-1000-0123456789ab/00d25c4hengw/made/by/it", "/a.scope"),
        ("/jobworker-0-0123456789ab/00d25c4hengw", ""),
        ("/", "/"),
    ],
)
def test_the_group_below_which_ours_are_made(path: str, base: str) -> None:
    """It is the one that was given to us, whichever of our own groups this process was started in."""
    assert OURS.sub("", path) == base
