"""Run the programs of Slurm, and tell a refusal from a controller that does not answer."""

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from contextlib import suppress

from jobworker.interfaces import ExecutorUnavailable, StartError

MAX_ERROR = 500  # characters of Slurm's words that are passed on

# What the programs print if they could not ask the controller: nothing is known then. Anything else is its answer.
NO_ANSWER = (
    "unable to contact",
    "connection refused",
    "connect failure",
    "connection reset",
    "connection timed out",
    "communication connection failure",
    "communication shutdown failure",
    "socket timed out",
    "zero bytes were transmitted",
    "transport endpoint",
    "protocol authentication error",
    "munge encode failed",
    "backup controller",
    "standby mode",
    "temporarily unable",
    "temporarily unavailable",
    "broken pipe",
    "unexpected message received",
    "unable to resolve",
    "could not establish a configuration source",
)


class Refused(StartError):
    """The controller has answered, and refused."""


class Programs:
    """Slurm's programs, with one deadline for each call: sbatch waits for ever if the controller is down."""

    def __init__(self, conf: str, timeout: float) -> None:
        self._timeout = timeout
        # Nothing else of the agent's: sbatch passes all of it on to the job (to pass none, it would have the node
        # run a login shell of the user), and a variable such as SBATCH_PARTITION would be an option.
        self._env = {"PATH": os.environ.get("PATH", os.defpath)}
        if conf := conf or os.environ.get("SLURM_CONF", ""):
            self._env["SLURM_CONF"] = conf

    async def run(self, argv: Sequence[str], text: str = "", **more: str) -> str:
        """Run a program with this input and these variables more; return its output.

        Raises ExecutorUnavailable if it has no answer of the controller, in time or at all, and Refused with its
        words.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=PIPE if text else DEVNULL, stdout=PIPE, stderr=PIPE, cwd="/", env=self._env | more
            )
        except OSError as error:
            raise ExecutorUnavailable(f"{argv[0]}: {error.strerror}; is the Slurm client installed here?") from None
        try:
            async with asyncio.timeout(self._timeout):
                output, errors = await process.communicate(text.encode() if text else None)
        except TimeoutError:
            raise ExecutorUnavailable(f"{argv[0]} has not answered for {self._timeout:g} s") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        code = process.returncode or 0
        if code == 0:
            return output.decode(errors="replace")
        words = " ".join(errors.decode(errors="replace").split())[-MAX_ERROR:] or f"code {code}"
        if code < 0 or any(part in words.lower() for part in NO_ANSWER):
            raise ExecutorUnavailable(f"{argv[0]}: {words}")
        raise Refused(f"{argv[0]}: {words}")
