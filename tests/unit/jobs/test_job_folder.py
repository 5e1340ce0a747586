"""The agent's side of the shared folder: who may reach what, and what a runner has printed."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobworker.formats.job_folder import RUNNER_LOG
from jobworker.jobs.remote import folder, runner


@pytest.fixture(autouse=True)
def strict() -> Iterator[None]:
    """The umask of an agent."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.parametrize(("users", "mode"), [(True, 0o711), (False, 0o700)])
def test_other_users_reach_the_runner_if_jobs_may_be_theirs(tmp_path: Path, *, users: bool, mode: int) -> None:
    for _ in range(2):  # the second time it is there
        runner.prepare(str(tmp_path), "agent", users=users)
        assert stat.S_IMODE((tmp_path / "agent").stat().st_mode) == mode
    program = Path(runner.program(str(tmp_path), "agent"))
    assert stat.S_IMODE(program.stat().st_mode) == 0o644
    assert stat.S_IMODE(program.parent.stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"one\nexec: python3: not found\n\n", "exec: python3: not found"),
        (b"\x1b[31mred\xff", "?[31mred\ufffd"),
        (b"x" * 10_000, "x" * folder.LAST_BYTES),
    ],
)
def test_the_last_words_of_a_runner(tmp_path: Path, printed: bytes, words: str) -> None:
    (tmp_path / RUNNER_LOG).write_bytes(printed)
    assert folder.last_words(str(tmp_path)) == words


def test_what_is_no_log_of_a_runner(tmp_path: Path) -> None:
    """The folder is the user's, who may put anything there: a link to a secret, a pipe without a writer, a folder."""
    secret, log = tmp_path / "secret", tmp_path / RUNNER_LOG
    secret.write_text("hidden")
    assert folder.last_words(str(tmp_path)) == ""
    log.symlink_to(secret)
    assert folder.last_words(str(tmp_path)) == ""
    log.unlink()
    os.mkfifo(log)
    assert folder.last_words(str(tmp_path)) == ""
    log.unlink()
    log.mkdir()
    assert folder.last_words(str(tmp_path)) == ""
