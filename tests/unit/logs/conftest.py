"""A log with some arrivals of both streams."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.log_writer import Writer

from jobworker.logs.reader import LogReader


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "log")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LogReader]:
    reader = LogReader(tmp_path / "log")
    yield reader
    reader.close()


@pytest.fixture
def mixed(writer: Writer) -> Writer:
    for stream, data in (
        (0, b"abc"),
        (0, b"d"),
        (1, b"EFGHI"),
        (0, b"jk"),
        (1, b"L"),
        (1, b"MNO"),
        (1, b"P"),
        (0, b"q"),
    ):
        writer.arrive(stream, data)
    return writer
