"""News of a folder's files."""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from jobworker.host.inotify import Inotify


@pytest.fixture
async def inotify() -> AsyncIterator[Inotify]:
    found = Inotify()
    yield found
    found.close()


async def test_growth_and_creation_are_reported(inotify: Inotify, tmp_path: Path) -> None:
    """The callback runs when a file is created and when it grows."""
    news = asyncio.Event()
    inotify.watch(tmp_path, lambda _: news.set())
    async with asyncio.timeout(10):
        (tmp_path / "file").touch()
        await news.wait()
        news.clear()
        with (tmp_path / "file").open("ab") as file:
            file.write(b"x")
        await news.wait()


async def test_each_folder_has_its_own_callback(inotify: Inotify, tmp_path: Path) -> None:
    """Call back for the folder that changed, and not for one that is no longer watched."""
    heard: list[str] = []
    last = asyncio.Event()
    numbers = {}

    def hear(folder: str, name: str) -> None:
        heard.append(f"{folder}/{name}")

    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        numbers[name] = inotify.watch(tmp_path / name, partial(hear, name))
    (tmp_path / "last").mkdir()
    inotify.watch(tmp_path / "last", lambda _: last.set())
    inotify.unwatch(numbers["b"])
    inotify.unwatch(numbers["b"])
    for name in ("b", "c", "last"):
        (tmp_path / name / "file").touch()
    async with asyncio.timeout(10):
        await last.wait()
    assert heard == ["c/file"]


async def test_many_changes_are_one_call(inotify: Inotify, tmp_path: Path) -> None:
    """Call back once for all changes of a file that are read together."""
    calls: list[int] = []
    done = asyncio.Event()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    inotify.watch(tmp_path / "a", lambda _: calls.append(1))
    inotify.watch(tmp_path / "b", lambda _: done.set())
    for number in range(50):
        (tmp_path / "a" / "file").write_bytes(b"x" * number)
    (tmp_path / "b" / "end").touch()
    async with asyncio.timeout(10):
        await done.wait()
    assert calls == [1]


async def test_folder_that_is_removed_can_be_unwatched(inotify: Inotify, tmp_path: Path) -> None:
    """Take the end of a watched folder calmly."""
    (tmp_path / "a").mkdir()
    number = inotify.watch(tmp_path / "a", lambda _: None)
    (tmp_path / "a").rmdir()
    inotify.unwatch(number)
    with pytest.raises(FileNotFoundError):
        inotify.watch(tmp_path / "a", lambda _: None)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        inotify.watch(tmp_path / "file", lambda _: None)


async def test_close_leaves_no_descriptor(tmp_path: Path) -> None:
    """Hold nothing after close."""
    before = set(os.listdir("/proc/self/fd"))
    inotify = Inotify()
    inotify.watch(tmp_path, lambda _: None)
    inotify.close()
    assert set(os.listdir("/proc/self/fd")) == before
