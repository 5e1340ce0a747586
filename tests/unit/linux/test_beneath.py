"""The files of a log are opened by name below the state folder, and never through a link."""

import os
from pathlib import Path

import pytest

from jobworker.linux import beneath, features
from jobworker.logs.reader import LogReader


def write(folder: Path) -> None:
    beneath.make_log_folder(str(folder))
    beneath.open_in_log(str(folder), "index", os.O_WRONLY | os.O_CREAT)


LINKS = ("logs", "logs/a1", "logs/a1/index")


@pytest.fixture(params=["openat2", "without"])
def state(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A state folder, on a kernel with and on one without openat2."""
    if request.param == "without":
        monkeypatch.setattr(features, "_missing", frozenset({"openat2"}))
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def test_files_are_made_and_found(state: Path) -> None:
    """The folder of a log is made with the one of all logs, twice without complaint; its files have mode 0600."""
    folder = str(state / "logs" / "a1")
    beneath.make_log_folder(folder)
    beneath.make_log_folder(folder)
    os.close(beneath.open_in_log(folder, "index", os.O_WRONLY | os.O_CREAT))
    assert (state / "logs" / "a1" / "index").stat().st_mode & 0o777 == 0o600
    assert (state / "logs").stat().st_mode & 0o777 == 0o700
    os.close(beneath.open_in_log(folder, "index", os.O_RDONLY))
    with pytest.raises(FileNotFoundError):
        beneath.open_in_log(folder, "first", os.O_RDONLY)


@pytest.mark.parametrize("link", LINKS)
def test_no_link_is_followed(state: Path, tmp_path: Path, link: str) -> None:
    """Neither reader nor pump go through a link that somebody put in the place of a file or folder."""
    victim = tmp_path / "victim"
    (victim / "a1").mkdir(parents=True)
    for name in ("index", "a1/index", "out", "err", "a1/out", "a1/err"):
        (victim / name).write_bytes(b"secret")
    target = {"logs": victim, "logs/a1": victim, "logs/a1/index": victim / "index"}[link]
    (state / link).parent.mkdir(parents=True, exist_ok=True)
    (state / link).symlink_to(target)
    folder = state / "logs" / "a1"
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
        LogReader(folder).open()
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
        write(folder)
    assert (victim / "index").read_bytes() == b"secret"


def test_nothing_above_is_reached(state: Path) -> None:
    """A path that leaves the folder is refused by the kernel."""
    if not features.has("openat2"):
        pytest.skip("only the kernel checks this")
    base = os.open(state, os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError, match="cross-device"):
            beneath.open_beneath(base, "../state/x", os.O_RDONLY)
    finally:
        os.close(base)
