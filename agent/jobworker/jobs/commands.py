"""Run a command as the job's user, for a stop strategy that stops the job by a command."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from typing import Any

from jobworker.host.keeper_process import KEEPER


async def run(
    argv: Sequence[str], env: Mapping[str, str], cwd: str, user: Mapping[str, Any] | None, timeout: float
) -> None:
    """Run a command for at most `timeout` seconds, then kill it and all of its group.

    `user` is a user as in the message to the keeper; None: the agent's own. Raises OSError if the command cannot be
    executed.
    """
    end = asyncio.get_running_loop().time() + timeout
    if user is None:
        process = await asyncio.create_subprocess_exec(
            *argv, env=env, cwd=cwd, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, process_group=0
        )
    else:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(KEEPER), "--as"),
            env={},  # its own are sent to stdin: this process is still root, and every user can read its arguments
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            process_group=0,
        )
    try:
        async with asyncio.timeout_at(end):
            if user is not None:
                await _send(process, {"argv": list(argv), "env": dict(env), "cwd": cwd, "user": user})
            await process.wait()
    except TimeoutError:
        pass
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


async def _send(process: Process, request: dict[str, Any]) -> None:
    """Send the command to the process that executes it; raise OSError if it cannot."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request).encode())
    process.stdin.close()
    if code := await process.stdout.read():  # an errno; nothing if execve succeeded
        raise OSError(int(code), os.strerror(int(code)), request["argv"][0])
