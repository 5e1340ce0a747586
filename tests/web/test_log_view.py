"""The log view in a real browser: places, rows, streams, colours, search, follow, copy, download."""

import itertools
import json
import shlex
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import Page, expect
from tests.conftest import RunningAgent
from tests.support.axe import findings
from tests.support.log_page import rows, show_log, until, until_row

NewPage = Callable[..., Awaitable[Page]]
LINES = 200_000
LOADED = "!view.viewport.scroller.classList.contains('log-loading')"
MARKUP = "<script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'><b>bold</b>"
MIXED = r"""
printf 'plain \033[31mred\033[0m \033[48;5;200mpink\033[0m\n'
printf 'to stderr\n' >&2
sleep 0.1
printf '%s\n' "$MARKUP"
printf 'a\000b\033[2Jc\r\n'
printf '\342\202'
sleep 0.1
printf '\254 euro\n\n'
head -c 40000 /dev/zero | tr '\0' y
echo
printf 'no newline'
"""


def job_of(agent: RunningAgent, shell: str, *options: str) -> str:
    """Run a job to its end, and return its id."""
    id_ = agent.jw("run", "-d", *options, "--shell", shell).stdout.strip()
    agent.jw("wait", id_)
    return id_


@pytest.fixture(scope="module")
def lines(shared: RunningAgent) -> str:
    """A job that wrote the numbers from 1 on, with a line of stderr in the middle."""
    half = LINES // 2
    return job_of(shared, f"seq 1 {half}; sleep 0.2; echo in between >&2; sleep 0.2; seq {half + 1} {LINES}")


@pytest.fixture(scope="module")
def mixed(shared: RunningAgent) -> str:
    return job_of(shared, MIXED, "-e", f"MARKUP={MARKUP}")


async def test_what_rows_show(page: Page, shared: RunningAgent, mixed: str) -> None:
    """Text, colours, both streams; markup and control characters as text; a long line cut, and more by a click."""
    await show_log(page, shared, mixed)
    await until_row(page, "plain")
    await until(page, "document.querySelectorAll('.log-number')[6]?.textContent")
    texts = [row["text"] for row in await rows(page)]
    assert texts[:2] == ["plain red pink", "to stderr"]
    assert texts[2:6] == [MARKUP, r"a\x00b\x1b[2Jc", "€ euro", ""]
    assert texts[6] == "y" * 16384 + " … 23,616 more bytes show 16,384 more bytes"
    assert [row["stream"] for row in await rows(page)][:7] == ["", "err", *[""] * 5]
    assert [row["number"] for row in await rows(page)][:7] == [str(n) for n in range(1, 8)]
    assert await page.evaluate("window.harmed") is None
    assert await page.locator(".log-text img, .log-text script, .log-text b").count() == 0
    assert await page.locator(".log-f1").inner_text() == "red"
    assert await page.locator(".log-text span[style*='background-color: rgb(255, 0, 215)']").inner_text() == "pink"
    await page.get_by_role("button", name="show 16,384 more bytes").press("Enter")
    await page.get_by_role("button", name="show 7,232 more bytes").press("Enter")
    await until(page, "document.querySelectorAll('.log-text')[6]?.textContent === 'y'.repeat(40000)")
    await page.evaluate("view.goto('end')")
    await until_row(page, "no newline")


async def test_copied_text_has_the_lines(page: Page, shared: RunningAgent, mixed: str) -> None:
    """And neither numbers nor notes; a line in two rows is one line."""
    await show_log(page, shared, mixed)
    await until_row(page, "plain")
    copy = """async () => {
      const rows = document.querySelectorAll(".log-row");
      const selection = document.getSelection();
      selection.setBaseAndExtent(rows[0].querySelector(".log-text").firstChild, 2, rows[5].nextSibling, 0);
      const data = new DataTransfer();
      rows[0].dispatchEvent(new ClipboardEvent("copy", { clipboardData: data, bubbles: true, cancelable: true }));
      return data.getData("text/plain");
    }"""
    shown = ["ain red pink", "to stderr", MARKUP, r"a\x00b\x1b[2Jc", "€ euro", ""]
    assert (await page.evaluate(copy)).splitlines()[:6] == shown


async def test_places(page: Page, shared: RunningAgent, lines: str) -> None:
    """A link to a byte or a line, the form, keys; the scrollbar is bytes; few rows are in the document."""
    offset = 2 * 9 + 3 * 90 + 4 * 900 + 5 * 9000 + 6 * 40_000  # of 50,000
    await show_log(page, shared, lines, position={"offset": offset + 3})
    row = await until_row(page, "50000")
    assert "log-target" in row["classes"]
    await until(page, "document.querySelector('.log-target .log-number').textContent === '50000'")
    await page.get_by_label("Kind of place").select_option("line")
    await page.get_by_label("Go to line").fill("123,456")
    await page.keyboard.press("Enter")
    row = await until_row(page, "123455")  # the line of stderr counts
    await until(page, "document.querySelector('.log-target .log-number').textContent === '123456'")
    await page.get_by_role("region", name="Output of the job").focus()
    await page.keyboard.press("Home")
    await until_row(page, "1")
    await page.keyboard.press("PageDown")
    await until(page, "view.viewport.offset > 40")
    await page.keyboard.press("End")
    await until_row(page, str(LINES))
    bar = "document.querySelector('.log-scroller')"
    await page.evaluate(f"{bar}.scrollTop = {bar}.scrollHeight / 4")
    await until(page, f"{LOADED} && Math.abs(view.viewport.offset / view.pages.end - 0.25) < 0.01")
    assert len(await rows(page)) < 600
    assert await page.evaluate("view.pages.size") <= 4 << 20
    await page.get_by_label("Go to line").fill("nowhere")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert").filter(has_text="nowhere is no place")).to_be_visible()
    await until(page, "places.at(-1)?.offset === view.viewport.offset")


async def test_one_stream(page: Page, shared: RunningAgent, lines: str) -> None:
    """Only its rows, wherever they are in the log, with the numbers that they have in the whole log."""
    await show_log(page, shared, lines, streams=["stderr"])
    await until_row(page, "in between")
    assert len(await rows(page)) == 1
    await until(page, f"document.querySelector('.log-number').textContent === '{LINES // 2 + 1}'")
    await page.get_by_label("Streams").select_option("stdout")
    await until_row(page, "100001")
    shown = [row["text"] for row in await rows(page)]
    assert "100000" in shown
    assert "in between" not in shown
    await until(page, "[...document.querySelectorAll('.log-number')].every((cell) => cell.textContent)")
    numbers = {row["text"]: row["number"] for row in await rows(page)}
    assert (numbers["100000"], numbers["100001"]) == ("100000", "100002")


async def test_numbers_where_the_streams_alternate(page: Page, shared: RunningAgent) -> None:
    """No row adjoins the next one, and lines of both streams are within others."""
    job = job_of(shared, "for n in 1 3 5; do echo $n; sleep 0.05; echo $((n + 1)) >&2; sleep 0.05; done; "
        "printf 7; sleep 0.05; echo 7b >&2; sleep 0.05; echo; echo 9")  # fmt: skip
    await show_log(page, shared, job, streams=["stdout"])
    await until_row(page, "9")
    await until(page, "[...document.querySelectorAll('.log-number')].every((cell) => cell.textContent)")
    assert {row["text"]: row["number"] for row in await rows(page)} == {n: n for n in "13579"}
    await expect(page.get_by_text("line 1, byte 0 of")).to_be_visible()


async def test_what_is_wider_than_the_page(new_page: NewPage, shared: RunningAgent) -> None:
    """The region of the log has the focus and scrolls sideways by keys; no other part of it is reached by them."""
    page = await new_page(viewport={"width": 360, "height": 640})
    await show_log(page, shared, job_of(shared, f"echo {'wide ' * 100}; seq 1000"))
    await until_row(page, "wide")
    assert [found["target"] for found in await findings(page) if found["id"].startswith("scrollable")] == []
    region = page.get_by_role("region", name="Output of the job")
    await page.get_by_role("button", name="Options").focus()
    await page.keyboard.press("Tab")
    await expect(region).to_be_focused()
    await page.keyboard.press("ArrowRight")
    await until(page, "document.querySelector('.log-pane').scrollLeft > 0")
    await page.keyboard.press("PageDown")
    await until(page, "view.viewport.offset > 500")
    offset = await page.evaluate("view.viewport.offset")
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Tab")
    await expect(region).to_be_focused()
    assert await page.evaluate("view.viewport.offset") == offset


async def test_a_time(page: Page, shared: RunningAgent, lines: str) -> None:
    """What arrived then or later; times are shown when they are asked for."""
    await show_log(page, shared, lines, streams=["stderr"])
    await until_row(page, "in between")
    await page.get_by_role("button", name="Times").click()
    await until(page, "document.querySelector('.log-time')?.offsetWidth > 0")
    time = await page.locator(".log-time").get_attribute("title")
    await show_log(page, shared, lines, position={"time": time})
    await until(page, "document.querySelector('.log-target .log-text')?.textContent === 'in between'")


async def test_search(page: Page, shared: RunningAgent, lines: str) -> None:
    """Every match is counted, those that are kept and others; next, previous, from the end to the begin."""
    await show_log(page, shared, lines)
    await until_row(page, "1")
    field = page.get_by_role("searchbox", name="Search the output")
    found = page.locator(".log-found")
    await field.fill("99999")
    await page.keyboard.press("Enter")
    await expect(found).to_have_text("1 of 2")
    await until(page, "document.querySelector('.log-current mark')?.textContent === '99999'")
    await page.get_by_role("button", name="Go to the next match").click()
    await until_row(page, "199999")
    await page.get_by_role("button", name="Go to the next match").click()
    await expect(found).to_have_text("1 of 2")
    await page.get_by_role("button", name="Go to the match before").click()
    await expect(found).to_have_text("2 of 2")
    await page.get_by_role("button", name="Regular expression").click()
    await field.fill("7$")
    await page.keyboard.press("Enter")
    await expect(found).to_have_text("1 of 20,000")
    await field.fill("IN BET")
    await page.get_by_role("button", name="Upper and lower case").click()
    await field.press("Enter")
    await expect(found).to_have_text("1 of 1")
    await until_row(page, "in between")
    await field.fill("(")
    await page.keyboard.press("Enter")
    await expect(found).to_contain_text("RE2")
    await until(page, "places.at(-1)?.query === '('")  # reported when nothing has moved for a moment
    place = await page.evaluate("places.at(-1)")
    assert (place["query"], place["regex"], place["case"]) == ("(", True, False)


async def test_matches_that_are_not_kept(page: Page, shared: RunningAgent, lines: str) -> None:
    """Of over 10,000 matches the others are counted; next and previous find them, each part of the log has a mark."""
    await show_log(page, shared, lines, query="1")
    await until(page, "view.finder._search?.complete")
    there = sum(str(number).count("1") for number in range(1, LINES + 1))
    assert await page.evaluate("view.finder._search.count") == there
    await page.evaluate("view.goto({line: 150001})")
    await until_row(page, "150001")
    await page.evaluate("view.finder.step(-1)")
    await until(page, "document.querySelector('.log-current .log-text')")
    await until(page, "document.querySelectorAll('mark').length > 20")
    assert await page.evaluate("view.finder._search.matches.length") == 10_000
    begin = sum(9 * 10**n * (n + 2) for n in range(5)) + 50_000 * 7 + len("in between\n")  # of the line 150000
    for before, match in ((begin + 7, begin), (begin, begin - 7)):
        assert await page.evaluate(f"view.finder._search.previous({before}).then((match) => match.offset)") == match
    await until(page, "view.finder._search._marked >= view.pages.end")
    marks = await page.evaluate("view.finder._search.marks")
    assert 400 < len(marks) <= 600
    assert max(b - a for a, b in itertools.pairwise(marks)) < 10_000


async def test_follow(page: Page, shared: RunningAgent, tmp_path: Path) -> None:
    """A running job is followed; to scroll up pauses; the key follows again; a fast one makes few rows."""
    pipe = tmp_path / "pipe"
    id_ = shared.jw("run", "-d", "--shell", f"mkfifo {pipe}; seq 1 100; sh {pipe}; sh {pipe}").stdout.strip()
    await show_log(page, shared, id_)
    await until_row(page, "100")
    button = page.get_by_role("button", name="Follow")
    await expect(button).to_have_attribute("aria-pressed", "true")
    await page.mouse.move(300, 300)
    await page.mouse.wheel(0, -200)
    await expect(button).to_have_attribute("aria-pressed", "false")
    top = await page.evaluate("view.viewport.offset")
    pipe.write_text("seq 101 110; sleep 0.1; echo last")
    await until(page, "view.pages.end > 292 + 40")
    assert await page.evaluate("view.viewport.offset") == top
    await page.get_by_role("region", name="Output of the job").focus()
    await page.keyboard.press("f")
    await until_row(page, "last")
    pipe.write_text(f"seq 1 1000000; echo the end; {shlex.join([sys.executable, '-c', 'print(7)'])}")
    await until_row(page, "the end")
    await until_row(page, "7")
    assert len(await rows(page)) < 600
    await until(page, "!view.following")


async def test_a_job_without_output(page: Page, shared: RunningAgent) -> None:
    await show_log(page, shared, job_of(shared, "true"))
    await expect(page.get_by_text("the job wrote no output")).to_be_visible()


async def test_dropped_bytes(page: Page, shared: RunningAgent) -> None:
    """The scrollbar begins where the log does; what was dropped is a row."""
    id_ = job_of(shared, "seq 1 60000", "--log-max", "64KiB")
    await show_log(page, shared, id_, position="start")
    row = await until_row(page, "")
    assert row["text"].endswith("bytes were dropped, as the oldest of a bounded log")
    first = await page.evaluate("view.pages.first")
    assert first == json.loads(shared.jw("status", "--json", id_).stdout)["log"]["first_offset"]


@pytest.mark.parametrize("streams", [None, ["stderr"]])
async def test_download(
    page: Page, shared: RunningAgent, mixed: str, streams: list[str] | None, tmp_path: Path
) -> None:
    """The bytes as they were written."""
    await show_log(page, shared, mixed, streams=streams)
    await until_row(page, "to stderr" if streams else "plain")
    await page.evaluate("window.showSaveFilePicker = undefined")  # it asks the user
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Download").click()
    path = tmp_path / "log"
    await (await waiting.value).save_as(path)
    log = shared.home.logs / mixed
    if streams:
        assert path.read_bytes() == (log / "err").read_bytes()
    else:
        assert sorted(path.read_bytes()) == sorted((log / "out").read_bytes() + (log / "err").read_bytes())
        assert b"\x00" in path.read_bytes()


async def test_keys(page: Page, shared: RunningAgent, lines: str) -> None:
    """All of it without a pointer: search, the matches, places, streams, and back into the log."""
    await show_log(page, shared, lines)
    await until_row(page, "1")
    region = page.get_by_role("region", name="Output of the job")
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await region.evaluate("(element) => element === document.activeElement"):
            break
    await expect(region).to_be_focused()
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.type("99999")
    await page.keyboard.press("Enter")
    await until_row(page, "99999")
    await page.keyboard.press("Escape")
    await expect(region).to_be_focused()
    await page.keyboard.press("n")
    await until_row(page, "199999")
    await page.keyboard.press("Shift+N")
    await until_row(page, "99999")
    await page.keyboard.press(":")
    await expect(page.get_by_label("Go to line")).to_be_focused()
    await page.keyboard.type("5000")
    await page.keyboard.press("Enter")
    await until_row(page, "5000")
    for key, toggle in (("w", "Wrap"), ("t", "Times")):
        await region.focus()
        await page.keyboard.press(key)
        await expect(page.get_by_role("button", name=toggle)).to_have_attribute("aria-pressed", "true")


@pytest.mark.slow
async def test_a_line_of_100_mb(page: Page, shared: RunningAgent) -> None:
    """It is cut at its begin and wherever one looks into it; the line after it has its number; few rows are held."""
    shell = "echo first; head -c 100000000 /dev/zero | tr '\\0' y; echo; echo after"
    job = job_of(shared, shell, "--log-max", "1GiB")
    await show_log(page, shared, job, position="start")
    await until_row(page, "first")
    row = await until_row(page, "yyy")
    assert row["text"].startswith("y" * 16384 + " …")
    await page.evaluate("view.goto({offset: 50_000_000})")
    await until(page, f"{LOADED} && Math.abs(view.viewport.offset - 50_000_000) < 1_000_000")
    await until_row(page, "")
    assert len(await rows(page)) < 600
    assert await page.evaluate("view.pages.size") <= 4 << 20
    await page.evaluate("view.goto('end')")
    await until_row(page, "after")
    await until(page, "[...document.querySelectorAll('.log-number')].at(-1).textContent === '3'")
    await page.evaluate("view.search('after')")
    await expect(page.locator(".log-found")).to_have_text("1 of 1")
