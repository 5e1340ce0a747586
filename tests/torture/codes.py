"""Many `jw run` at once, each with a code and an output of its own: what they exit with, and print."""

import asyncio
import os
import sys
from pathlib import Path

from tests.torture.outcome import Outcome
from tests.torture.victim import LIMIT, Victim

AT_ONCE = 200


async def many_commands(path: Path, commands: int) -> Outcome:
    """Run commands, at most AT_ONCE side by side; count the codes and outputs that are not the job's."""
    outcome = Outcome(f"jw run -- sh -c 'echo N; exit N', {min(AT_ONCE, commands)} at once", kills=commands)
    turns = asyncio.Semaphore(AT_ONCE)
    async with Victim(path) as victim:
        env = os.environ | {"JOBWORKER_HOME": str(victim.agent.home.path)}

        async def one(number: int) -> None:
            code = number % 124
            command = [sys.executable, "-m", "jobworker_cli", "run", "--", "sh", "-c", f"echo {number}; exit {code}"]
            async with turns:
                process = await asyncio.create_subprocess_exec(
                    *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env=env
                )
                output, _ = await asyncio.wait_for(process.communicate(), 10 * LIMIT)
            outcome.statuses["exact" if process.returncode == code else "invented"] += 1
            outcome.lost += max(0, len(f"{number}\n") - len(output))
            outcome.stray += output != f"{number}\n".encode()

        await asyncio.gather(*map(one, range(commands)))
    return outcome
