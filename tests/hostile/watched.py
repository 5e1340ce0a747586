"""The agent, and beside its loop a thread that measures how long the loop pauses.

``python watched.py ARGUMENTS...``, those of the agent; the longest pause since the agent listens, in seconds,
stands in the file `pause` of its state folder.
"""

import asyncio
import sys
import threading
import time
from pathlib import Path

from jobworker import app
from jobworker.__main__ import main

OFTEN = 0.002  # seconds between two looks
SETTLED = 1.0  # seconds after the start, when all is imported


def watch(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    time.sleep(SETTLED)
    longest, new = 0.0, path.with_suffix(".new")
    while not loop.is_closed():
        turned, began = threading.Event(), time.monotonic()
        try:
            loop.call_soon_threadsafe(turned.set)
        except RuntimeError:  # it was closed meanwhile
            return
        turned.wait()
        if (took := time.monotonic() - began) > longest:
            longest = took
            new.write_text(f"{longest:.4f}")
            new.replace(path)  # whoever reads it finds one number
        time.sleep(OFTEN)


class Watched(app.Agent):
    async def run(self, ready: int | None) -> list[int]:
        path = Path(sys.argv[sys.argv.index("--home") + 1]) / "pause"
        threading.Thread(target=watch, args=(asyncio.get_running_loop(), path), daemon=True).start()
        return await super().run(ready)


if __name__ == "__main__":
    app.Agent = Watched  # type: ignore[misc]
    main()
