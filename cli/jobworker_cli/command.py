"""Make a command of a function: its event loop, its errors, its exit code."""

from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from jobworker_cli import output
from jobworker_cli.declare import UsageError
from jobworker_cli.failures import RUN_FAILED, report

P = ParamSpec("P")
T = TypeVar("T")


def command(function: Callable[P, Any]) -> Callable[P, int]:
    """Return the function as a command: a coroutine gets a loop, errors are reported, None is exit code 0."""
    return _wrap(function, None)


def job_command(function: Callable[P, Any]) -> Callable[P, int]:
    """The same for a command that exits with the code of a job: a failure of ours is RUN_FAILED."""
    return _wrap(function, RUN_FAILED)


def _wrap(function: Callable[P, Any], failed: int | None) -> Callable[P, int]:
    @wraps(function)  # the options are read from the signature
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        return attempt(partial(function, *args, **kwargs), failed)

    return run


def attempt(body: Callable[[], Any], failed: int | None = None) -> int:
    """Run the body of a command and return its exit code; `failed` replaces the code of every failure of ours."""
    try:
        result = body()
        return (run_on_loop(result) if isinstance(result, Coroutine) else result) or 0
    except (output.ReaderGone, UsageError):
        raise
    except Exception as error:
        code = report(error)
        return code if failed is None else failed


def run_on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine on a loop of its own; raise KeyboardInterrupt for Ctrl-C."""
    import asyncio  # here, for many commands need none

    try:
        return asyncio.run(_interruptible(work))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Let Ctrl-C cancel the work between two steps of the loop; asyncio's own handler may do so within a step."""
    import asyncio
    import signal

    task = asyncio.current_task()
    if task is not None and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
    return await work
