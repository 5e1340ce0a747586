"""What the page makes of text, patterns, times and commands is what `jw` and the agent make of them."""

import json
import re
import unicodedata
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from playwright.async_api import Page
from tests.conftest import RunningAgent

from jobworker.jobs.scope import Scope
from jobworker.model import to_builtins
from jobworker.text import text_of
from jobworker_cli import describe
from jobworker_cli.output.sanitise import printable

APP = Path(__file__).parents[2] / "agent/jobworker/web/static/app"
ASSIGNED = [code for code in range(0x110000) if unicodedata.category(chr(code)) != "Cn"]
METHODS = ["job.stop", "job.list", "job.st", "log.read", "job.", "job", "JOB.STOP", "[job].stop"]
METHOD_PATTERNS = [
    "*", "job.*", "job.s?op", "job.[a-s]*", "job.[!s]*", "*.read", "[j]ob.stop", "job.stop", "", "?", "job.[",
    "[[]job[]].*", "job.*[", "[]j]ob.stop", "job+stop", "job.(stop|list)", "\\job",
]  # fmt: skip
LABELS = ["web", "web-1", "webby", "", "[web]", "a*b", "w\neb", "w.b", "\U0001f600"]
LABEL_PATTERNS = ["*", "web*", "web", "w?b", "[web]", "[a-z]eb", "", "?", "w*b*", "\\w", "web|x"]


async def js(page: Page, module: str, name: str, calls: list[Any]) -> list[Any]:
    """Return what a function of a module answers to each of several lists of arguments."""
    script = (
        "async ([m, n, calls]) => { const f = (await import(`./app/${m}`))[n]; return calls.map((c) => f(...c)); }"
    )
    result: list[Any] = await page.evaluate(script, [module, name, calls])
    return result


async def test_text_is_escaped_as_by_jw(page: Page, shared: RunningAgent) -> None:
    """Each character that Unicode had when Python was made: the same stay, the others are written the same."""
    await page.goto(f"{shared.url}/")
    chars = [chr(code) for code in ASSIGNED if not 0xD800 <= code < 0xE000]
    script = """async (chars) => {
      const { shown } = await import("./app/text.js");
      return JSON.stringify(JSON.parse(chars).map(shown));
    }"""
    shown = json.loads(await page.evaluate(script, json.dumps(chars)))  # as one string, which is faster
    wrong = [pair for pair in zip(chars, shown, strict=True) if pair[1] != printable(pair[0])]
    assert wrong == []
    assert await page.evaluate("async () => (await import('./app/text.js')).shown('\\ud800x')") == "\\ud800x"


def test_no_text_gets_around_that_function() -> None:
    """No module but dom.js makes text nodes; none makes markup."""
    markup = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|eval\("
    )
    text = re.compile(r"\.textContent\s*=[^=]|\.innerText|createTextNode")
    for path in APP.glob("*.js"):
        source = path.read_text()
        assert not markup.search(source), path.name
        if path.name != "dom.js":
            assert not text.search(source), path.name


async def test_patterns_match_as_in_the_agent(page: Page, shared: RunningAgent) -> None:
    """Those of methods and those of labels, which are different."""
    await page.goto(f"{shared.url}/")
    calls: list[Any] = [[pattern, method, True] for pattern in METHOD_PATTERNS for method in METHODS]
    expected = [fnmatchcase(method, pattern) for pattern, method, _ in calls]
    found = await js(page, "access.js", "matches", calls)
    assert [call for call, *pair in zip(calls, found, expected, strict=True) if pair[0] != pair[1]] == []
    calls = [[pattern, label, False] for pattern in LABEL_PATTERNS for label in LABELS]
    expected = [Scope(None, {"x": pattern}).holds("", {"x": label}) for pattern, label, _ in calls]
    found = await js(page, "access.js", "matches", calls)
    assert [call for call, *pair in zip(calls, found, expected, strict=True) if pair[0] != pair[1]] == []


async def test_times_states_and_commands_are_as_in_jw(page: Page, shared: RunningAgent) -> None:
    await page.goto(f"{shared.url}/")
    seconds = [0, 0.04, 3.26, 59.94, 60, 61, 3599, 3600, 3660, 86399, 86400, 90000, 1e7]
    assert await js(page, "format.js", "span", [[each] for each in seconds]) == [
        describe.span(each) for each in seconds
    ]
    words: list[list[Any]] = [
        ["make", "test"], ["sh", "-c", "echo 'a b' \"$x\" | wc"], ["", "a b", "~", "é", "a=b", "-x", "*"],
        ["cat", to_builtins(text_of("caf\udce9 \\ '"))],
    ]  # fmt: skip
    specs = [*({"argv": each} for each in words), {"shell": "echo a | wc"}]
    commands = await js(page, "format.js", "command", [[spec] for spec in specs])
    assert commands == [describe.command({"spec": spec}) for spec in specs]
    ends = [
        {"reason": "finished", "code": 0, "signal": None}, {"reason": "finished", "code": None, "signal": "SIGKILL"},
        {"reason": "stopped", "code": 3, "signal": None}, {"reason": "start_failed", "code": None, "signal": None},
    ]  # fmt: skip
    jobs = [{"state": "exited", "exit": end} for end in ends]
    jobs += [
        {"state": state, "exit": None, "waiting": {"prompt": ""}}
        for state in ("running", "created", "paused", "lost")
    ]
    states = await js(page, "format.js", "state", [[job] for job in jobs])
    assert states == [describe.state(job).replace("_", " ") for job in jobs]
