"""The uids of principals: none is given twice, none belongs to an account, all are on disk first."""

import asyncio
import json
from pathlib import Path

import pytest

from jobworker.errors import PermissionDenied, StartError
from jobworker.jobs.uid_pool import UidPool, warnings

FREE = range(62000, 62100)  # from 64000 on are uids of Debian, as 64030 of Slurm


async def test_many_at_once(tmp_path: Path) -> None:
    """Each of 100 principals that come at the same time gets another one, and after a restart the same."""
    file = tmp_path / "uids.json"
    names = [f"token:{number}" for number in range(len(FREE))]
    pool = UidPool(file, FREE)
    found = await asyncio.gather(*(pool.identity(name) for name in names))
    assert {identity.uid for identity in found} == {*FREE}
    assert (file.stat().st_mode & 0o777, len(json.loads(file.read_bytes()))) == (0o600, len(FREE))
    again = UidPool(file, FREE)
    assert [again.known(name) for name in names] == [identity.uid for identity in found]
    with pytest.raises(PermissionDenied, match=r"users.pool: all 100 uids are given"):
        await again.identity("token:late")


async def test_another_range(tmp_path: Path) -> None:
    """It gives others; those of before stay those of their principals, also if the range comes back."""
    file = tmp_path / "uids.json"
    before = await UidPool(file, range(64000, 64002)).identity("token:a")
    moved = UidPool(file, range(64000, 64010))
    assert (await moved.identity("token:a")).uid == before.uid
    assert (await UidPool(file, range(64005, 64006)).identity("token:a")).uid == 64005
    assert (await UidPool(file, range(64000, 64002)).identity("token:b")).uid == 64001


async def test_accounts_are_passed_over(tmp_path: Path) -> None:
    """A uid or gid of the host's own users is not given."""
    assert (await UidPool(tmp_path / "uids.json", range(1, 80001, 64000 - 1)).identity("token:a")).uid == 64000


@pytest.mark.parametrize("content", ["{", "[]", '{"x": "token:a"}'])
def test_a_damaged_file(tmp_path: Path, content: str) -> None:
    """No agent starts on it: a principal could get the uid of another."""
    file = tmp_path / "uids.json"
    file.write_text(content)
    with pytest.raises(StartError, match=r"uids.json: cannot be read"):
        UidPool(file, FREE)


@pytest.mark.parametrize(
    ("euid", "pool", "default", "owners", "words"),
    [
        (1000, None, "", True, ["all jobs run as the agent's own user"]),
        (1000, FREE, "", True, ["all jobs run as the agent's own user", "users.pool has no effect"]),
        (0, FREE, "", True, []),
        (0, None, "", True, ["neither users.pool nor jobs.user is set"]),
        (0, None, "jobs", True, ["jobs of all principals run as jobs"]),
        (0, None, "jobs", False, []),
    ],
)
def test_what_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, euid: int, pool: range | None, default: str, owners: bool, words: list[str]
) -> None:
    """That all run as one user, if roles have `control = "own"`."""
    monkeypatch.setattr("os.geteuid", lambda: euid)
    found = warnings(pool, default, owners=owners)
    assert len(found) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found, strict=True))
