"""A bar on stderr for what takes long: only on a terminal, and only if stdout does not show the same there."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from jobworker_cli.output import write

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")
MIN_BYTES = 1 << 20  # of a log that takes a while
MIN_STEPS = 4  # fewer are done before a bar would be seen


def shown(what: str, steps: Iterable[T], total: int, *, alone: bool = False) -> Iterator[T]:
    """Yield the steps, and show how many of `total` are done; `alone`: nothing else is written meanwhile."""
    if total < MIN_STEPS or not wanted(alone=alone):
        yield from steps
        return
    with bar() as progress:
        task = progress.add_task(what, total=total)
        for step in steps:
            yield step
            progress.advance(task)


@contextmanager
def download(total: int) -> Iterator[Callable[[int], None]]:
    """Show how many of `total` bytes are there; yield a function that is called with how many came."""
    if total < MIN_BYTES or not wanted(alone=False):
        yield lambda count: None
        return
    with bar(sizes=True) as progress:
        task = progress.add_task("log", total=total)
        yield lambda count: progress.advance(task, count)


def wanted(*, alone: bool) -> bool:
    """Return whether stderr is a terminal that can show a bar, and stdout does not write lines to one."""
    stderr, stdout = sys.stderr, sys.stdout
    if stderr is None or not stderr.isatty() or os.environ.get("TERM") == "dumb":
        return False
    return alone or stdout is None or not stdout.isatty()


def bar(*, sizes: bool = False) -> "Progress":
    """Return a bar that goes away at its end; of bytes if `sizes`."""
    from rich import progress  # slow to import
    from rich.console import Console

    middle: list[progress.ProgressColumn] = [progress.MofNCompleteColumn()]
    if sizes:
        middle = [progress.DownloadColumn(), progress.TransferSpeedColumn()]
    columns = [
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        *middle,
        progress.TimeRemainingColumn(),
    ]
    console = Console(stderr=True, no_color=not write.coloured(sys.stderr))
    return progress.Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
