"""Open an address in the user's browser, unseen by other users of the host."""

import html
import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from jobworker.paths import default_home
from jobworker.private import write_private
from jobworker.protocol import PATH

USERS = range(1000, 60000)  # uids of people, as in login.defs


class Page(NamedTuple):
    """The address of the page of an agent, and its origin; `below`: whether it is below a path."""

    origin: str
    url: str
    below: bool


def page_of(address: str) -> Page | None:
    """Return the page of the agent at an address; None for a socket, of which the agent knows its own."""
    if not address.startswith("wss://"):
        return None
    parts = urlsplit(address)
    origin = f"https://{parts.netloc.lower().removesuffix(':443')}"
    path = parts.path.removesuffix(PATH).rstrip("/")
    return Page(origin, f"{origin}{path}/", bool(path))


def show(url: str) -> bool:
    """Open an address; return False if there is no browser to open it in.

    Every user can read the arguments of a process: if others are here, the browser gets a file that leads there.
    """
    if not any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")):
        return False  # webbrowser would find one for the terminal
    import webbrowser

    return webbrowser.open(_file(url).as_uri() if _others_are_here() else url)


def _file(url: str) -> Path:
    """Return a page that leads to an address, for our own user only; the code in it is of no use after 30 s."""
    path = default_home() / "open.html"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = f'<!doctype html><meta http-equiv="refresh" content="0; url={html.escape(url)}">\n'
    write_private(path, text.encode())
    return path


def _others_are_here() -> bool:
    """Whether another person has processes on this host."""
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                uid = entry.stat().st_uid
            except OSError:  # it has ended
                continue
            if uid in USERS and uid != os.geteuid():
                return True
    return False
