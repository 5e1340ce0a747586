"""Which launches posix_spawn may do, for which the keeper waits: none that the owner of a job could make hang."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobworker.host.journal import Closed
from jobworker.keeper.quick import QuickPath
from jobworker.linux import features
from jobworker.linux.features import WITHOUT
from jobworker.linux.lookup import LOCAL_TYPES, local_devices, open_folder_at_once

if TYPE_CHECKING:
    from tests.support.keeper_host import Host

pytestmark = pytest.mark.skipif(
    os.stat("/usr/bin").st_dev not in local_devices() or os.stat("/usr/bin").st_uid != 0,
    reason="the programs of this host are not on a local file system of root's",
)


def launch_of(argv0: str, path: str = "/usr/bin:/bin", **more: Any) -> dict[str, Any]:
    return {"argv": [argv0], "env": {"PATH": path}, "cwd": "/", **more}


@pytest.mark.parametrize(
    ("name", "file"), [("true", "/usr/bin/true"), ("/bin/true", "/bin/true"), ("sh", "/usr/bin/sh")]
)
def test_programs_of_the_system_are_quick(name: str, file: str) -> None:
    """By name or by path, and by a link within the folder, as sh is one to dash."""
    assert QuickPath().program(launch_of(name)) == file


@pytest.mark.parametrize(
    "change",
    [
        {"umask": 0},
        {"nice": 0},
        {"rlimits": {}},
        {"user": {"uid": 1, "gid": 1, "groups": []}},
        {"limits": {"pids": 5}},
        {"namespace": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_changes_need_a_fork(change: dict[str, Any]) -> None:
    assert QuickPath().program(launch_of("true", **change)) is None


@pytest.mark.parametrize(
    "path",
    ["/usr/bin/../bin", "", "/usr/bin:" * 100, "{folder}:/usr/bin", "/usr/bin/", "/proc/self/root/usr/bin"],
)
def test_other_paths_are_not_searched(path: str, tmp_path: Path) -> None:
    """One folder of somebody's own, or too many of them, leaves the search to the child."""
    assert QuickPath().program(launch_of("true", path.replace("{folder}", str(tmp_path)))) is None


@pytest.mark.parametrize("name", ["", ".", "..", "no-such-program", "./true", "../bin/true", "/usr/bin/../bin/true"])
def test_odd_names_are_not_quick(name: str) -> None:
    assert QuickPath().program(launch_of(name)) is None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is taken for one of the system, as if only root could change all above it."""
    if os.geteuid() != 0 or tmp_path.stat().st_dev not in local_devices():
        pytest.skip("needs root, and a temporary folder on a local file system")
    real_folder = QuickPath._real_folder
    monkeypatch.setattr("jobworker.keeper.quick.FOLDERS", (str(tmp_path),))
    monkeypatch.setattr(QuickPath, "_real_folder", lambda *args: str(tmp_path))
    assert real_folder is not QuickPath._real_folder
    return tmp_path


def quick(folder: Path) -> str | None:
    return QuickPath().program(launch_of(str(folder / "program")))


def test_a_program_of_roots_is_quick(folder: Path) -> None:
    shutil.copy("/bin/true", folder / "program")
    assert quick(folder) == str(folder / "program")


def test_a_program_of_another_user_is_not_quick(folder: Path) -> None:
    """Its owner could hold a lease on it."""
    shutil.copy("/bin/true", folder / "program")
    os.chown(folder / "program", 65534, 0)
    assert quick(folder) is None


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o644])
def test_a_program_that_others_can_write_is_not_quick(folder: Path, mode: int) -> None:
    shutil.copy("/bin/true", folder / "program")
    (folder / "program").chmod(mode)
    assert quick(folder) is None


def test_a_script_is_not_quick(folder: Path) -> None:
    """Its interpreter may be anywhere; nor is a program that has become a script."""
    program = folder / "program"
    known = QuickPath()
    shutil.copy("/bin/true", program)
    assert known.program(launch_of(str(program))) == str(program)
    program.write_text("#!/nowhere\n")
    assert known.program(launch_of(str(program))) is None


def test_a_link_to_another_folder_is_not_quick(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Somebody else may change what it leads to between the check and the execve."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "program"
    shutil.copy("/bin/true", elsewhere)
    (folder / "program").symlink_to(elsewhere)
    assert quick(folder) is None
    (folder / "program").unlink()
    (folder / "program").symlink_to("program")
    assert quick(folder) is None


def test_folders_that_others_can_change_are_not_of_the_system(tmp_path: Path) -> None:
    """A folder that is root's is not enough: all above it must be as well."""
    quick = QuickPath()
    assert quick._real_folder("/usr/bin") == os.path.realpath("/usr/bin")
    assert quick._real_folder("/tmp") == ""
    below = Path("/tmp") / tmp_path.relative_to("/tmp") if tmp_path.is_relative_to("/tmp") else tmp_path
    assert quick._real_folder(str(below)) == ""


@pytest.mark.parametrize("folder", ["/proc", "/proc/self/root", "/proc/self/cwd", "/dev", "/no/such", "etc", ""])
def test_other_file_systems_are_not_entered(folder: str) -> None:
    """No file system without a disk, no link of /proc, nothing relative."""
    before = os.getcwd()
    assert not QuickPath().enter(folder)
    assert os.getcwd() == before


def test_a_folder_that_is_not_cached_is_not_waited_for(tmp_path: Path) -> None:
    """A lookup that would have to ask the file system fails in place of that."""
    if not features.has("openat2_cached"):
        pytest.skip("this run does without openat2 of Linux 5.12")
    (tmp_path / "there").mkdir()
    os.stat(tmp_path / "there" / "..")  # now all of the way is in the cache
    os.close(open_folder_at_once(str(tmp_path / "there")))
    with pytest.raises(OSError, match=r"Resource temporarily unavailable|No such file"):
        open_folder_at_once(str(tmp_path / "never-looked-up"))


def test_a_folder_that_others_see_another_file_system_on_is_entered(tmp_path: Path) -> None:
    """As /home and /tmp are for services of systemd: in their mount namespace something else is mounted there."""
    if (
        os.geteuid() != 0
        or tmp_path.stat().st_dev != os.stat("/").st_dev
        or os.stat("/").st_dev not in local_devices()
    ):
        pytest.skip("needs root, and a temporary folder on the root file system")
    (tmp_path / "home").mkdir()
    script = 'mount -t tmpfs none "$1" && echo mounted && read _'
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", str(tmp_path / "home")]
    before = os.getcwd()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == b"mounted\n"
            os.stat(tmp_path / "home" / "..")  # now all of the way is in the cache
            assert QuickPath().enter(str(tmp_path / "home"))
            assert os.path.samefile(".", tmp_path / "home")
        finally:
            os.chdir(before)
            other.stdin.close()


def test_a_file_system_without_a_disk_is_not_entered() -> None:
    """A number of a tmpfs that is gone may be one of a file system that asks a process."""
    if os.stat("/dev/shm").st_dev == os.stat("/").st_dev:
        pytest.skip("/dev/shm is no file system of its own")
    before = os.getcwd()
    assert not QuickPath().enter("/dev/shm")
    assert os.getcwd() == before


def test_no_file_system_of_a_process_or_another_host_is_local() -> None:
    assert not LOCAL_TYPES & {"fuse", "fuseblk", "nfs", "nfs4", "cifs", "9p", "overlay", "autofs", "ceph", "afs"}


@pytest.mark.parametrize("without", ["", "spawn_into_cgroup", "clone_into_cgroup", "openat2_cached"])
async def test_each_way_gives_the_same_job(
    cold_host: "Host", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    """A single start, and each of a stream: born in its cgroup, in its folder, with the same descriptors."""
    monkeypatch.setenv(WITHOUT, without)
    await cold_host.connect()
    script = "cat /proc/self/cgroup | grep ^0:; pwd; echo /proc/$$/fd/*; ulimit -n; umask"
    for number in range(12):
        job = f"q{number}"
        await cold_host.launch(job, "sh", "-c", script, cwd=str(tmp_path))
    outputs = set()
    for number in range(12):
        await cold_host.until(Closed, f"q{number}")
        text = cold_host.output(f"q{number}").decode()
        pid = text.split("/proc/")[1].split("/")[0]
        outputs.add(text.replace(f"/q{number}\n", "/JOB\n").replace(f"/proc/{pid}/", "/proc/PID/"))
    assert len(outputs) == 1, outputs
    (text,) = outputs
    if cold_host.group:
        assert f"/{Path(cold_host.group).name}/JOB\n" in text
    assert f"\n{tmp_path}\n" in f"\n{text}"
    for link in cold_host.links:
        assert link.hello["pid"] == cold_host.pid
