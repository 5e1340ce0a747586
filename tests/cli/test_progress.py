"""The bar that long work shows on stderr, and colours: on a terminal, and as --color, NO_COLOR and TERM want."""

import os
import pty
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cli.conftest import COMMAND
from tests.conftest import DEADLINE

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

DIM = "\x1b[2m"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3|4|9|10)\d(?:;\d+)*m")
SIZE = 5_000_000


def on_terminal(*words: str, stdout: int | None = None, env: dict[str, str] | None = None) -> str:
    """Run `jw` with a terminal as stderr, and as stdout unless one is given; return what the terminal shows."""
    master, slave = pty.openpty()
    how = {"TERM": "xterm"} | (env or {})
    process = subprocess.Popen([*COMMAND, *words], stdout=stdout or slave, stderr=slave, env=os.environ | how)
    os.close(slave)
    shown = b""
    try:
        while data := os.read(master, 65536):
            shown += data
    except OSError:  # `jw` has ended
        pass
    os.close(master)
    assert process.wait(DEADLINE) == 0, shown
    return shown.decode()


def test_the_download_of_a_log(jw: "Jw", tmp_path: Path) -> None:
    """Into a file there is a bar on stderr, which is a terminal; the file has every byte, and only these."""
    jw.out("run", "-d", "--name", "download", "sh", "-c", f"head -c {SIZE} /dev/zero")
    assert jw("wait", "download").returncode == 0
    cases: list[tuple[dict[str, str], bool]] = [({}, True), ({"TERM": "dumb"}, False)]
    for env, bar in cases:
        with (tmp_path / "log").open("wb") as file:
            shown = on_terminal("logs", "download", stdout=file.fileno(), env=env)
        assert (tmp_path / "log").read_bytes() == bytes(SIZE)
        assert ("5.0/5.0 MB" in shown) is bar, shown
    with (tmp_path / "log").open("wb") as file:
        plain = on_terminal("logs", "download", stdout=file.fileno(), env={"NO_COLOR": "1"})
        assert "MB" in plain
        assert not COLOUR.search(plain)
        assert COLOUR.search(on_terminal("--color", "always", "logs", "download", stdout=file.fileno()))
    assert jw("logs", "download").stderr == ""


def test_colours(jw: "Jw") -> None:
    cases: list[tuple[list[str], dict[str, str], bool]] = [
        (["ps"], {}, True),
        (["ps"], {"NO_COLOR": "1"}, False),
        (["ps"], {"TERM": "dumb"}, False),
        (["ps", "--color", "never"], {}, False),
        (["--color=always", "ps"], {"NO_COLOR": "1"}, True),
    ]
    for words, env, coloured in cases:
        assert (DIM in on_terminal(*words, env=env)) is coloured, (words, env)
    assert DIM not in jw.out("ps")
    assert DIM in jw.out("--color", "always", "ps")
    refused = jw("--color", "red", "ps")
    assert (refused.returncode, "'red'; expected auto, always or never" in refused.stderr) == (2, True)
