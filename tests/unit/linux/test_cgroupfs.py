"""The paths of cgroups, and the folders of the mounts that have them."""

import pytest

from jobworker.linux.cgroupfs import Hierarchy


@pytest.mark.parametrize(
    ("mount", "root", "path", "folder"),
    [
        ("/sys/fs/cgroup", "/", "/", "/sys/fs/cgroup"),
        ("/sys/fs/cgroup", "/", "/a/b", "/sys/fs/cgroup/a/b"),
        ("/sys/fs/cgroup", "/docker/1", "/docker/1", "/sys/fs/cgroup"),
        ("/sys/fs/cgroup", "/docker/1", "/docker/1/a", "/sys/fs/cgroup/a"),
    ],
)
def test_folders_and_paths(mount: str, root: str, path: str, folder: str) -> None:
    """Path and folder of a group convert to each other, also if only a part of the hierarchy is mounted."""
    hierarchy = Hierarchy(mount, root)
    assert hierarchy.folder(path) == folder
    assert hierarchy.path(folder) == path


@pytest.mark.parametrize("path", ["/../other", "/docker/12", "/"])
def test_a_group_that_the_mount_does_not_show(path: str) -> None:
    assert Hierarchy("/sys/fs/cgroup", "/docker/1").folder(path) == ""
