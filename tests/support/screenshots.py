"""Screenshots of the page that are the same on each machine, and how far one is from another one."""

import base64
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

FOLDER = Path(__file__).parents[1] / "web" / "screenshots"
FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
WRITE = os.environ.get("SCREENSHOTS") == "write"
# Half of its size is enough to see what is where, and keeps the files small. The policy is tested elsewhere; here it
# would refuse the style that makes fonts the same.
OPTIONS = {"device_scale_factor": 0.5, "bypass_csp": True, "reduced_motion": "reduce"}
STYLE = """
* { font-family: "DejaVu Sans" !important; animation: none !important; transition: none !important;
    caret-color: transparent !important; }
code, pre, textarea, .log-rows *, .xterm * { font-family: "DejaVu Sans Mono" !important; }
"""
# Numbers, ids and times differ from run to run, and what a job uses is known a moment after the rest.
SETTLE = r"""() => {
  for (const value of document.querySelectorAll("[aria-labelledby='usage-title'] dl")) value.remove();
  const id = /jobs\/(\w+)/.exec(location.hash)?.[1];
  const number = /\d(?:[\d.:,-]|(?:ms|min|[smhd])(?![a-z]))*/g; // and spans, as 1m05s
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    if (node.parentElement.tagName === "STYLE") continue; // of xterm.js
    const text = (id ? node.data.replaceAll(id, "identifier") : node.data).replace(number, "0");
    if (text !== node.data) node.data = text;
  }
}"""
# The share of squares whose mean colour differs by more than a shade, of two images of the same size.
COMPARE = """async ([urls, side, shade]) => {
  const [one, other] = await Promise.all(urls.map(async (url) => {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, image.width, image.height);
  }));
  if (one.width !== other.width || one.height !== other.height) return 1;
  const mean = ({ data, width }, left, top, channel) => {
    let sum = 0;
    for (let y = top; y < top + side; y++) {
      for (let x = left; x < left + side; x++) sum += data[(y * width + x) * 4 + channel];
    }
    return sum / side ** 2;
  };
  let [different, all] = [0, 0];
  for (let top = 0; top + side <= one.height; top += side) {
    for (let left = 0; left + side <= one.width; left += side, all++) {
      different += [0, 1, 2].some((n) => Math.abs(mean(one, left, top, n) - mean(other, left, top, n)) > shade);
    }
  }
  return different / all;
}"""
SIDE = 6  # pixels of a square
SHADE = 24  # of 255
TOLERANCE = 0.015  # of the squares: another version of Chromium draws letters and controls a little differently


def require_font() -> None:
    if not FONT.exists():
        pytest.skip(f"{FONT} is not there, in which the screenshots are: apt-get install fonts-dejavu-core")


async def open_page(new_page: Callable[..., Awaitable[Page]], **mode: Any) -> Page:
    """Open a page for a screenshot, with the same fonts on each machine from its load on."""
    page = await new_page(**mode, **OPTIONS)
    script = f"""document.addEventListener("DOMContentLoaded", () => {{
      document.head.append(Object.assign(document.createElement("style"), {{ textContent: {json.dumps(STYLE)} }}));
    }});"""
    await page.add_init_script(script)
    return page


async def shoot(page: Page) -> bytes:
    """Return a screenshot, as PNG; the page is of no use afterwards."""
    await page.evaluate("() => document.fonts.ready")
    await page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    await page.evaluate(SETTLE)
    return await page.screenshot(animations="disabled", scale="device")


async def difference(page: Page, one: bytes, other: bytes) -> float:
    """Return which share of two screenshots differs; 1 if their sizes do."""
    urls = [f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in (one, other)]
    await page.goto("about:blank")
    share: float = await page.evaluate(COMPARE, [urls, SIDE, SHADE])
    return share


async def check(page: Page, name: str, folder: Path) -> str:
    """Compare a page with its screenshot, or write that anew; return what is wrong, empty if nothing is."""
    png, known = await shoot(page), FOLDER / f"{name}.png"
    if WRITE:
        FOLDER.mkdir(exist_ok=True)
        known.write_bytes(png)
        return ""
    seen = folder / f"{name}.png"
    seen.write_bytes(png)
    if not known.exists():
        return f"there is no {known}: make screenshots, and look at it"
    share = await difference(page, known.read_bytes(), png)
    if share <= TOLERANCE:
        return ""
    return f"{share:.1%} of {seen} differ from {known.name}; if that is right, run make screenshots, and look at it"
