"""Print what the log view costs in a real browser, over a log of 1 GiB and one that is written fast.

``python tests/web/figures.py [--size BYTES]``; needs Chromium. Exits 1 if what is shown is not what should be.
"""

import argparse
import asyncio
import gzip
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from playwright.async_api import Page, async_playwright  # noqa: E402
from tests.benchmarks.figures import median_and_range, table  # noqa: E402
from tests.benchmarks.fixtures import Agent, require, running_agent  # noqa: E402
from tests.support.browser import launch  # noqa: E402
from tests.support.log_page import rows, show_log, until  # noqa: E402

from jobworker.client import Client  # noqa: E402
from jobworker.model import JobSpec  # noqa: E402

STATIC = ROOT / "agent" / "jobworker" / "web" / "static"
LINE_BYTES = 100
PLACES = (0.1, 0.9, 0.33, 0.75, 0.5)
WRITER = 'BEGIN { for (n = 1; n <= lines; n++) printf "%-99s\\n", "line " n }'
FAST = """
import os, sys, time
begin, n = time.monotonic(), 0
while (now := time.monotonic() - begin) < 8:
    if n > now * 100_000:
        time.sleep(0.002)
        continue
    os.write(1, b"".join(b"%-99d\\n" % k for k in range(n, n + 1000)))
    n += 1000
"""
WATCH = """() => {
  window.frames = [];
  let last = performance.now();
  const note = (now) => { frames.push(now - last); last = now; requestAnimationFrame(note); };
  requestAnimationFrame(note);
}"""
SHOWN = "document.querySelector('.log-target .log-text')"
STILL = "!view.viewport.scroller.classList.contains('log-loading') && view.pages.known && view.viewport.rows.size"
TO_PLACE = """async (share) => {
  const bar = document.querySelector(".log-scroller");
  const begun = performance.now();
  const frame = () => new Promise(requestAnimationFrame);
  bar.scrollTop = share * (bar.scrollHeight - bar.clientHeight);
  for (await frame(), await frame(); bar.classList.contains("log-loading"); await frame());
  return [performance.now() - begun, view.viewport.offset / view.pages.end];
}"""


def served() -> None:
    """Print how many bytes of each part a browser loads, compressed."""
    parts = [["part", "kB", "compressed kB"]]
    total = [0, 0]
    for name in ("log", "app", "client", "app.css", "index.html"):
        path = STATIC / name
        files = [file for file in path.glob("*.js") if "node" not in file.name] if path.is_dir() else [path]
        sizes = [sum(len(data) for data in texts) for texts in _texts(files)]
        total = [a + b for a, b in zip(total, sizes, strict=True)]
        parts.append([name, *(f"{size / 1e3:.1f}" for size in sizes)])
    table("what is served without a terminal", [*parts, ["all", *(f"{size / 1e3:.1f}" for size in total)]])


def _texts(files: list[Path]) -> tuple[list[bytes], list[bytes]]:
    texts = [file.read_bytes() for file in files]
    return texts, [gzip.compress(text) for text in texts]


async def heap(page: Page) -> float:
    """Return the used heap in MB, after garbage collection."""
    session = await page.context.new_cdp_session(page)
    await session.send("HeapProfiler.collectGarbage")
    usage = await session.send("Runtime.getHeapUsage")
    return float(usage["usedSize"]) / 1e6


async def large(page: Page, agent: Agent, client: Client, size: int) -> None:
    """Links into the middle, the scrollbar to any place, a way through all of it."""
    lines = size // LINE_BYTES
    job = await client.run(JobSpec(argv=["awk", "-v", f"lines={lines}", WRITER]))
    async for _ in job:
        pass
    opened = []
    for n in range(5):
        await show_log(page, agent, job.job.id, position={"offset": (lines // 2 + n) * LINE_BYTES})
        await until(page, SHOWN)
        opened.append(await page.evaluate("performance.now() - began"))
        text = await page.evaluate(f"{SHOWN}.textContent.trim()")
        require(text == f"line {lines // 2 + n + 1}", f"{text!r} is shown")
    found = [await page.evaluate(TO_PLACE, share) for share in PLACES]
    for (_, there), share in zip(found, PLACES, strict=True):
        require(abs(there - share) < 0.01, f"the scrollbar at {share} leads to {there}")
    passed, most = 0, 0
    began = time.monotonic()
    while passed < size:  # through all of it, by steps of a MiB
        passed += 1 << 20
        await page.evaluate(f"view.viewport.show({min(passed, size - 1)})")
        await until(page, STILL)
        most = max(most, len(await rows(page))) if passed % (16 << 20) == 0 else most
    held = await page.evaluate("view.pages.size")
    table(
        f"a log of {size / 1e6:.0f} MB",
        [
            ["what", "median (range)", "aim"],
            ["link to first line, ms", median_and_range(opened), ""],
            ["scrollbar to a place, ms", median_and_range([took for took, _ in found]), ""],
            ["heap after all of it, MB", f"{await heap(page):.1f}", "60"],
            ["bytes of the log held, MB", f"{held / 1e6:.1f}", "4.2"],
            ["rows in the document, at most", str(most), "600"],
            ["seconds for all of it", f"{time.monotonic() - began:.0f}", ""],
        ],
    )


async def fast(page: Page, agent: Agent, client: Client) -> None:
    """Follow 100,000 lines a second."""
    job = await client.run(JobSpec(argv=[sys.executable, "-c", FAST]))
    await job.close()  # only the page follows it
    await show_log(page, agent, job.job.id)
    await until(page, "view.following && view.viewport.rows.size")
    await page.evaluate(WATCH)
    await asyncio.sleep(5)
    frames = await page.evaluate("window.frames")
    count = len(await rows(page))
    await client.call("job.wait", id=job.job.id)
    table(
        "100,000 lines a second, followed",
        [
            ["what", "figure"],
            ["longest frame, ms", f"{max(frames):.0f}"],
            ["work of the view in a frame, at most, ms", f"{await page.evaluate('view.viewport.longestFrame'):.0f}"],
            ["frames a second", f"{len(frames) / sum(frames) * 1e3:.0f}"],
            ["rows in the document", str(count)],
        ],
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description="Print what the log view costs in a browser.")
    parser.add_argument("--size", type=int, default=1 << 30, help="bytes of the large log (default 1 GiB)")
    size = parser.parse_args().size
    served()
    async with (
        running_agent('[jobs]\nlog_max_bytes = "4GiB"\n') as agent,
        agent.client() as client,
        async_playwright() as playwright,
    ):
        browser = await launch(playwright.chromium)
        page = await browser.new_page(ignore_https_errors=True, viewport={"width": 1280, "height": 900})
        await fast(page, agent, client)
        await large(page, agent, client, size)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
