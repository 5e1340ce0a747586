"""The paths of files and folders, and the refusal of a folder that others can reach."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobworker.errors import StartError
from jobworker.paths import Home, default_home
from jobworker.private import require_private, write_private


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    yield home
    folder = home.run_folder()
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        folder.rmdir()


def test_home_is_made_for_its_owner_only(home: Home) -> None:
    """Make the folder 0700, whatever the umask, and make it again without complaint."""
    umask = os.umask(0)
    try:
        home.create()
        home.create()
        run = home.create_run_folder()
        assert home.create_run_folder() == run
    finally:
        os.umask(umask)
    for folder in (home.path, home.logs, run):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_folders_above_are_no_more_open_than_usual(tmp_path: Path) -> None:
    """Make what is missing above the state folder so that others cannot replace it, whatever the umask."""
    umask = os.umask(0)
    try:
        Home(tmp_path / "above" / "it" / "home").create()
    finally:
        os.umask(umask)
    for folder in (tmp_path / "above", tmp_path / "above" / "it"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o702])
def test_folder_that_others_can_reach_is_refused(home: Home, mode: int) -> None:
    """A home or run folder with a permission for others is refused, with a hint."""
    home.path.mkdir(mode=0o700)
    home.path.chmod(mode)
    with pytest.raises(StartError, match=f"{mode:o}") as refused:
        home.create()
    assert "chmod 700" in refused.value.hint
    run = home.create_run_folder()
    run.chmod(mode)
    assert home.create_run_folder() != run
    run.chmod(0o700)


@pytest.mark.parametrize("kind", ["link", "dangling", "file"])
def test_run_folder_that_is_none_is_passed_over(home: Home, tmp_path: Path, kind: str) -> None:
    """Take the next place if a link or a file is in the place of the run folder."""
    name = home.run_folder()
    name.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "target").mkdir(mode=0o700)
    if kind == "file":
        name.touch(mode=0o600)
    else:
        name.symlink_to(tmp_path / ("target" if kind == "link" else "nowhere"))
    run = home.create_run_folder()
    name.unlink()
    run.rmdir()
    assert run != name
    assert not os.listdir(tmp_path / "target")


def test_run_folder_is_short_and_one_for_each_home(tmp_path: Path) -> None:
    """Name one run folder for each home, however it is spelled, short enough for a socket."""
    long = tmp_path / ("x" * 200) / ("y" * 200)
    assert len(os.fsencode(Home(long).run_folder() / "keeper.sock")) < 108
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    assert Home(tmp_path / "alias").run_folder() == Home(tmp_path / "real").run_folder()
    assert Home(tmp_path / "other").run_folder() != Home(tmp_path / "real").run_folder()


def test_default_home_is_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take JOBWORKER_HOME before anything else, as an absolute path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOBWORKER_HOME", "here")
    assert default_home() == tmp_path / "here"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JOBWORKER_HOME", "~/there")
    assert default_home() == tmp_path / "there"


@pytest.mark.parametrize("chosen", ["~nobody-has-this-name/x", ""])
def test_unknown_home(monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    """Without HOME and an entry in /etc/passwd, the error names the variable to set."""
    monkeypatch.setenv("JOBWORKER_HOME", chosen)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(StartError, match="HOME is not set") as refused:
        default_home()
    assert "JOBWORKER_HOME" in refused.value.hint


def test_private_file_is_replaced_at_once(tmp_path: Path) -> None:
    """Write a file 0600 whatever the umask and the mode it had, and leave no other file."""
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o644)
    before = path.stat().st_ino
    umask = os.umask(0)
    try:
        write_private(path, b"new")
    finally:
        os.umask(umask)
    assert path.read_bytes() == b"new"
    assert path.stat().st_ino != before
    require_private(path)
    assert os.listdir(tmp_path) == ["secret"]


def test_private_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    """Neither follow a link that waits under a temporary name that could be guessed, nor fail because of it."""
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / f".secret.{os.getpid()}").symlink_to(tmp_path / "victim")
    write_private(tmp_path / "secret", b"new")
    assert (tmp_path / "victim").read_bytes() == b"mine"


def test_run_folder_of_a_plain_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Prefer what logind made for the user, but not a folder that is another user's."""
    home = Home(tmp_path / "home")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert tmp_path not in home.run_folder().parents, "root has a place of its own"
    monkeypatch.setattr(os, "geteuid", lambda: 61234)
    places = home.run_folders()
    assert places[0].parent == tmp_path
    assert places[1].parent == Path("/run/user/61234")
    assert places[-1].parent == home.path
    assert home.run_folder() == places[0], "folders of root are trusted"
    tmp_path.chmod(0o777)
    assert home.run_folder() != places[0]
