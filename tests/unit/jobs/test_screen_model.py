"""The model of a job's terminal: how it takes a log that is long, cut, or written for several sizes."""

from pathlib import Path

from tests.support.log_writer import Writer

from jobworker.formats.sizes import MAX_RECORDS, SIZE_BYTES, Size, added, decode, encode
from jobworker.jobs import screen_model
from jobworker.jobs.screen_model import WHOLE_BYTES, ScreenModel


def caught_up(model: ScreenModel) -> screen_model.Picture:
    model.size()
    model.begin()
    while not model.advance():
        pass
    return model.picture(ansi=False)


def rows_of(picture: screen_model.Picture) -> list[str]:
    return [row for row in picture.text if row]


def test_a_log_that_grows(tmp_path: Path) -> None:
    """Only what is new is taken, also a character that came in two parts; no log yet is an empty screen."""
    model = ScreenModel(str(tmp_path / "log"), 3, 20)
    assert (rows_of(caught_up(model)), model.picture(ansi=False).exact) == ([], True)
    log = Writer(tmp_path / "log")
    log.arrive(0, "ab\r\nä".encode()[:-1])
    assert rows_of(caught_up(model)) == ["ab"]
    log.arrive(0, "ä\x1b[".encode()[1:])
    log.arrive(0, b"1;1Hc")
    picture = caught_up(model)
    assert (rows_of(picture), picture.cursor, picture.exact) == (["cb", "ä"], (0, 1), True)
    assert picture.offset == len(log.merged)


def test_a_long_log(tmp_path: Path) -> None:
    """It begins where the screen was cleared, near the end; modes, region and title of before hold."""
    log = Writer(tmp_path / "log")
    log.arrive(0, b"\x1b]2;title\x07\x1b[?1049h\x1b[?2004h\x1b[?25l\x1b[?25h\x1b[2;3r\x1b[?1000h\x1b[?1000lold")
    for _ in range(WHOLE_BYTES // 60000 + 9):
        log.arrive(0, b"x" * 60000)
    log.arrive(0, b"\x1b[H\x1b[2Jnew\x1b[3;1H\n\nlast")
    picture = caught_up(ScreenModel(str(tmp_path / "log"), 5, 20))
    assert (rows_of(picture), picture.cursor) == (["new", "last"], (2, 4))
    assert (picture.title, picture.alternate, picture.exact) == ("title", True, False)


def test_a_model_that_was_left_behind(tmp_path: Path) -> None:
    """What came meanwhile is too long: it begins again near the end, after a reset without the modes of before."""
    model = ScreenModel(str(tmp_path / "log"), 5, 20)
    log = Writer(tmp_path / "log")
    log.arrive(0, b"\x1b[?1049hold")
    assert caught_up(model).alternate
    log.arrive(0, b"\x1bc")
    for number in range(10, 99):
        log.arrive(0, b"%d\r\n" % number * 10000)
    picture = caught_up(model)
    assert (rows_of(picture), picture.cursor) == (["98"] * 4, (4, 0))
    assert (picture.alternate, picture.exact) == (False, False)


def test_output_that_was_dropped(tmp_path: Path) -> None:
    """A bounded log is taken from its oldest byte; a gap within is passed."""
    log = Writer(tmp_path / "log")
    log.arrive(0, b"gone\r\n")
    log.arrive(0, b"kept\r\n")
    log.lose(0, 100)
    log.arrive(0, b"end")
    log.drop(1, "out", "index")
    picture = caught_up(ScreenModel(str(tmp_path / "log"), 5, 20))
    assert (rows_of(picture), picture.exact) == (["kept", "end"], False)


def test_sizes_at_their_bytes(tmp_path: Path) -> None:
    """Each part of the output is taken in the size for which it was written; too large a size is passed over."""
    log = Writer(tmp_path / "log")
    log.arrive(0, b"0123456789")
    sizes: list[Size] = [(1, 4, 5, 4), (2, 8, 5, 6), (3, 9, 65535, 65535), (4, 10, 2, 7)]
    (log.folder / "sizes").write_bytes(b"".join(map(encode, sizes)))
    picture = caught_up(ScreenModel(str(log.folder), 5, 20))
    assert (picture.text, picture.rows, picture.cols, picture.cursor) == (["0123", "456789"], 2, 7, (1, 6))


def test_costly_output(tmp_path: Path) -> None:
    """It ends after a while, with what it has by then."""
    log = Writer(tmp_path / "log")
    log.arrive(0, b"a\x1b[2J" * 2000)
    model = ScreenModel(str(log.folder), 200, 300)
    before = screen_model.MAX_SECONDS
    try:
        screen_model.MAX_SECONDS = 0.001
        picture = caught_up(model)
    finally:
        screen_model.MAX_SECONDS = before
    assert not picture.exact
    assert picture.offset < len(log.merged)
    assert caught_up(model).offset == len(log.merged), "the next call goes on"


def test_the_file_of_sizes() -> None:
    """It stays short, a torn record does not count, and the last of several at one offset is the one that counts."""
    data = b""
    for number in range(2 * MAX_RECORDS):
        place, more = added(data, (number, number // 2, 24, 80))
        data = data[:place] + more
    assert len(data) <= MAX_RECORDS * SIZE_BYTES
    assert decode(data)[-1] == (2 * MAX_RECORDS - 1, MAX_RECORDS - 1, 24, 80)
    assert [offset for _, offset, _, _ in decode(data)] == sorted({offset for _, offset, _, _ in decode(data)})
    torn = data[:-5]
    assert decode(torn) == decode(data)[:-1]
    place, more = added(torn, (99999, 99999, 1, 1))
    assert decode(torn[:place] + more) == [*decode(data)[:-1], (99999, 99999, 1, 1)]
