"""What people type and have on screens and disks: numbers of signals, durations as we print them, wide names."""

import json
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobworker import config
from jobworker.jobs.plan import Defaults

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

BOM = b"\xef\xbb\xbf"


def columns(text: str) -> int:
    """Return the columns of a terminal that a text without emoji sequences takes."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(bool(unicodedata.combining(char)) for char in text)


def test_names_in_chinese_and_emoji_in_columns(jw: "Jw") -> None:
    """The columns after a wide name begin where they do after others; so they do in prefixed logs."""
    names = ["编译服务器", "🚀🚀", "cafe\u0301", "plain-name"]
    for name in names:
        assert jw("run", "--name", name, "--", "echo", "x").returncode == 0
    lines = jw.out("ps", "-a").splitlines()
    at = {columns(line[: line.index("exited 0")]) for line in lines if any(name in line for name in names)}
    assert len(at) == 1, lines
    logs = jw.out("logs", *names).splitlines()
    assert len({columns(line[: line.index("| x")]) for line in logs}) == 1, logs


def test_an_emoji_of_several_characters_in_columns() -> None:
    from jobworker_cli.output.width import width

    assert [*map(width, ["a", "é", "界", "🚀", "❤\ufe0f", "e\u0301", "👩\u200d💻", "🇩🇪", "👍🏽"])] == [
        1,
        1,
        2,
        2,
        2,
        1,
        2,
        2,
        2,
    ]


@pytest.mark.parametrize("text", ["15", "term", "sigterm", "TERM", "SigTerm"])
def test_signals_by_number_and_in_lower_case(jw: "Jw", text: str) -> None:
    """In kill, stop and the spec, as in kill(1)."""
    job = jw.out("run", "-d", "--stop-signal", text, "--", "sleep", "600")
    assert jw("kill", "-s", text, job).returncode == 0
    assert jw("wait", job).returncode == 128 + 15
    other = jw.out("run", "-d", "--", "sleep", "600")
    assert jw("stop", "--signal", text, other).returncode == 0
    assert json.loads(jw.out("status", "--json", other))["exit"]["signal"] == "SIGTERM"


def test_a_signal_in_lower_case_in_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for text in ("term", "15", "SIGTERM"):
        path.write_text(f'[jobs]\nstop_signal = "{text}"\n')
        assert Defaults.of(config.load(path).jobs).stop.signal == "SIGTERM"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SIGRTMIN+3", "SIGRT+3"),
        ("rtmin+3", "SIGRT+3"),
        ("SIGRT+3", "SIGRT+3"),
        ("37", "SIGRT+3"),
        ("rtmax-1", "SIGRT+29"),
        ("RTMIN+0", "SIGRTMIN"),
        ("RTMIN", "SIGRTMIN"),
        ("64", "SIGRTMAX"),
    ],
)
def test_a_real_time_signal_by_name(jw: "Jw", text: str, name: str) -> None:
    """As kill(1), systemd and containers name them; it is that signal which ends the job."""
    job = jw.out("run", "-d", "--", "sleep", "600")
    assert jw("kill", "--signal", text, job).returncode == 0
    assert jw("wait", job).returncode > 128
    ended = json.loads(jw.out("status", "--json", job))["exit"]
    assert (ended["signal"], ended["message"]) == (name, f"killed by {name}, sent by local")
    other = jw.out("run", "-d", "--", "sleep", "600")
    assert jw("stop", "--signal", text, other).returncode == 0
    ended = json.loads(jw.out("status", "--json", other))["exit"]
    assert (ended["signal"], ended["receipt"]["steps"][0]["signal"]) == (name, name)


NONE = [
    "0",
    "99",
    "-9",
    "nonsense",
    "9.0",
    "٩",
    "33",
    "65",
    "rtmin-1",
    "rtmin+31",
    "rtmax+1",
    "rt",
    "rtmin+",
    "rtmin+٣",
]


@pytest.mark.parametrize("text", NONE)
def test_a_signal_that_is_none(jw: "Jw", text: str) -> None:
    job = jw.out("run", "-d", "--", "sleep", "600")
    done = jw("kill", f"--signal={text}", job)
    assert (done.returncode, "expected the name of a signal, as SIGTERM" in done.stderr) == (1, True), done
    assert jw("kill", job).returncode == 0


@pytest.mark.parametrize("text", ["1h30m", "1h 30m", "1d4h", "2m3s", "1m1.5s"])
def test_durations_as_jw_prints_them(jw: "Jw", text: str) -> None:
    job = jw.out("run", "-d", "--timeout", text, "--grace", "1m1s", "--", "true")
    assert jw("update", "--timeout", text, job).returncode in (0, 5)
    assert jw("logs", "--since", text, job).returncode == 0


@pytest.mark.parametrize(
    "text",
    ["nan", "inf", "-inf", "1e400", "1_000", "", " ", "-1", "soon", "30m1h", "1h1h", "1h30", "10 m s", "٣s", "٣"],
)
def test_a_timeout_that_is_no_duration(jw: "Jw", text: str) -> None:
    """The error names the value and what is expected."""
    for option in ("--timeout", "--idle-timeout", "--grace"):
        done = jw("run", f"{option}={text}", "--", "true")
        assert done.returncode == 125, done
        assert re.search(r"(timeout|grace): .*; expected (seconds or a text like|0 to \d+ seconds)", done.stderr), (
            done
        )


def test_other_numbers_that_are_none(jw: "Jw") -> None:
    for arguments in (["--cpus", "nan"], ["--cpus", "inf"]):
        done = jw("run", *arguments, "--", "true")
        assert (done.returncode, "cpus: " in done.stderr) == (125, True), done
    job = jw.out("run", "-d", "--", "sleep", "600")
    done = jw("update", "--cpus", "nan", job)
    assert (done.returncode, "cpus: " in done.stderr) == (1, True), done
    done = jw("rpc", "job.wait", f"id={job}", "timeout=NaN")
    assert (done.returncode, "timeout: 'NaN'; expected" in done.stderr) == (1, True), done
    assert jw("kill", job).returncode == 0


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", BOM])
def test_a_configuration_that_an_editor_of_windows_wrote(jw: "Jw", tmp_path: Path, mark: bytes, end: bytes) -> None:
    """It is read, and enable and disable keep its byte order mark and its ends of lines."""
    path = tmp_path / "config.toml"
    lines = [
        b"# mine",
        b"[server]",
        b"port = 0 # any",
        b"",
        b"[plugins]",
        b'enabled = ["token", "roles", "graceful", "kill", "total"]',
        b"",
    ]
    path.write_bytes(before := mark + end.join(lines))
    assert config.load(path).server.port == 0
    for verb in ("disable", "enable"):
        done = jw("plugins", verb, "total", "--config", str(path))
        assert done.returncode == 0, done
        text = path.read_bytes()
        assert text.startswith(BOM) == bool(mark)
        assert text.count(b"\r\n") == (text.count(b"\n") if end == b"\r\n" else 0)
    assert path.read_bytes() == before


def test_a_plugins_table_added_to_a_file_with_crlf(jw: "Jw", tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"[server]\r\nport = 0\r\n")
    assert jw("plugins", "disable", "total", "--config", str(path)).returncode == 0
    text = path.read_bytes()
    assert text.count(b"\r\n") == text.count(b"\n") > 2
