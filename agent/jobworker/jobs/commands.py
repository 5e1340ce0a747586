"""Run a command beside a job, as the same user, for a stop that asks by one."""

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

    `user` is as the keeper is told of one; None: as the agent. Raises OSError where the command cannot be executed.
    """
    end = asyncio.get_running_loop().time() + timeout
    if user is None:
        process = await asyncio.create_subprocess_exec(
            *argv, env=env, cwd=cwd, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, process_group=0
        )
    else:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(KEEPER), "--as"),
            env={},  # its own come by stdin: this is still root, and everyone sees the arguments of a process
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


async def _send(process: Process, asked: dict[str, Any]) -> None:
    """Have the process become the command; raise OSError where it says that it cannot."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(asked).encode())
    process.stdin.close()
    if refused := await process.stdout.read():
        raise OSError(int(refused), os.strerror(int(refused)), asked["argv"][0])
