# Made of ../commands.py by docs/generate.py: change that file, and run it.
"""Run commands as `asyncio.subprocess` and `subprocess.run` do: the methods of a client that are more than one call.

`../commands.py` is the source of this file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypedDict

from jobworker.client.blocking.verbs import Verbs
from jobworker.errors import AnswerTimeout, ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from jobworker.client.blocking.process import Process
    from jobworker.client.blocking.subscription import Subscription
    from jobworker.client.completed import Completed
    from jobworker.model import (
        ExecutorSpec,
        JobSpec,
        LimitSpec,
        LogSpec,
        SandboxSpec,
        SecretRef,
        StopSpec,
        TimeoutSpec,
        TtySpec,
    )
    from jobworker.text import Text
    from jobworker.units import Duration


class Options(TypedDict, total=False):
    """The fields of a JobSpec besides its command."""

    name: str | None
    env: Mapping[str, Text]
    secrets: dict[str, str | SecretRef]
    secret_files: dict[str, str | SecretRef]
    cwd: Text | None
    user: str | int | None
    group: str | int | None
    umask: int | str | None
    nice: int | None
    rlimits: dict[str, Any]
    limits: LimitSpec
    stdin: str | None
    tty: bool | TtySpec
    timeout: Duration | None
    idle_timeout: Duration | None
    timeout_policies: list[TimeoutSpec]
    stop: StopSpec
    log: LogSpec
    leftovers: str
    labels: dict[str, str]
    pid_namespace: bool
    private_tmp: bool
    sandbox: SandboxSpec | None
    executor: ExecutorSpec | None


class Commands(Verbs):
    """The methods of the protocol, and those that run a command."""

    def spawn(self, program: str | bytes, *args: str | bytes, **options: Unpack[Options]) -> Process:
        """Start a program and return its process; with `stdin="pipe"` it has an input.

        It is started once, also over lost connections. It runs on when this client ends; use ``async with`` to end
        it. If the call is cancelled, the job is killed. Raises ExecFailed if the program cannot be started.
        """
        return self._spawned(_spec([program, *args], options))

    def spawn_shell(self, command: str | bytes, **options: Unpack[Options]) -> Process:
        """Start a command of the shell, as `spawn` does."""
        return self._spawned(_spec(command, options))

    def run_and_wait(
        self,
        args: Sequence[str | bytes] | str | bytes,
        *,
        shell: bool = False,
        input: bytes | None = None,  # noqa: A002  # as of subprocess.run
        capture: bool = False,
        check: bool = False,
        **options: Unpack[Options],
    ) -> Completed:
        """Run a command, wait until it has ended, and return how; with `capture` its output, too.

        `args` is a list, or with `shell` a text. `input` is written to it. With `timeout` the agent stops the whole
        tree after that time, and CommandTimeout is raised. With `check`, CommandFailed is raised if it has not ended
        with 0. If the call is cancelled, the job is killed. Without `capture` the output is in the job's log only.
        """
        from jobworker.client.blocking.process import Process
        from jobworker.client.completed import Completed

        if input is not None:
            options["stdin"] = "pipe"
        words = [args] if isinstance(args, str | bytes) else [*args]
        run = self._begin(_spec(words[0] if shell else words, options))
        process = Process(self, run.job)
        outputs = {"stdout": bytearray(), "stderr": bytearray()}
        try:
            if input is not None or not capture:
                self.connection.drop(run.inbox)  # it is not read meanwhile
            if input is not None:
                process.feed(input)
            if capture:
                for chunk in run:
                    outputs[chunk.stream] += chunk.data
            returncode = process.wait()
        except BaseException:
            process.abandon()
            raise
        stdout, stderr = (bytes(output) if capture else None for output in outputs.values())
        complete = not run.gaps and not (run.end is not None and run.end.truncated)
        completed = Completed(words, returncode, stdout, stderr, process.job, complete)
        completed.check_timeout()
        if check:
            completed.check_returncode()
        return completed

    def _spawned(self, spec: JobSpec) -> Process:
        from jobworker.client.blocking.process import Process

        run = self._begin(spec)
        self.connection.drop(run.inbox)  # each output has a subscription of its own
        return Process(self, run.job)

    def _begin(self, spec: JobSpec) -> Subscription:
        """Start a job once; if this is cancelled, kill the job that it has started. Each client has its own."""
        raise NotImplementedError

    def _run_once(self, spec: JobSpec, key: str) -> Subscription:
        """Start a job; with its key it is started once, however often the connection is lost before the answer."""
        while True:
            try:
                return self.run(spec, key)
            except AnswerTimeout:
                raise
            except ConnectionFailed:
                self.connection.reconnect()


def new_key() -> str:
    return os.urandom(16).hex()


def _spec(command: Sequence[str | bytes] | str | bytes, options: Options) -> JobSpec:
    from jobworker.model import JobSpec
    from jobworker.text import text_of

    if isinstance(command, str | bytes):
        return JobSpec(shell=text_of(command), **options)
    return JobSpec(argv=[text_of(word) for word in command], **options)
