"""`jw screen`: what the terminal of a job shows."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.cli.conftest import Jw


def test_screen(window: Any, jw: "Jw") -> None:
    """As text, without the empty lines at the end, and as JSON; a job without a terminal is an error with a hint."""
    shown = window(
        "run", "-t", "--name", "shown", "--", "sh", "-c", r"printf 'one\n\033[5;3H\033[31mtwo'; read x", rows=8
    )
    shown.wait_for("two")
    assert jw.out("screen", "shown") == "one\n\n\n\n  two"
    assert jw("screen", "-a", "shown").stdout == "one\n\n\n\n  two\n\n\n\n"
    screen = json.loads(jw.out("screen", "shown", "--json"))
    assert (screen["text"][0], screen["rows"], screen["cursor"]["col"]) == ("one", 8, 5)
    jw.out("kill", "shown")
    assert jw.out("screen", "shown").startswith("one"), "also when it has ended"
    job = jw.out("run", "-d", "--", "true")
    done = jw("screen", job)
    assert (done.returncode, "jw run -t" in done.stderr) == (5, True)
