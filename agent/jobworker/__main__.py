"""Start the agent: read its arguments and configuration, run it, and execute it again for a restart in place.

``python -m jobworker`` is how the local agent is started; ``jw agent run`` calls `main` as well.
"""

import argparse
import asyncio
import errno
import functools
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import uvloop

from jobworker import agent_log, app, config, preflight, tracing
from jobworker.errors import InvalidState, JobworkerError, StartError
from jobworker.jobs.identity import require_users
from jobworker.linux import descriptors, inheritance, syscalls
from jobworker.paths import Home, default_home
from jobworker.plugin import loader
from jobworker.private import require_trusted
from jobworker.quiet_log import bound_libraries
from jobworker.server.listener import bind
from jobworker.service import Service
from jobworker.tls import setup

# How long a thread keeps the interpreter when another one wants it. With Python's 5 ms, a plugin that computes and
# releases the interpreter for a moment every millisecond or so delays the loop for seconds: each release starts the
# wait again.
SWITCH_INTERVAL_SECONDS = 20e-6
# uvloop's buffer for a TLS connection, of which an idle one touches some KiB. In the heap, where malloc soon puts
# such blocks, it takes pages that others have used: 20 kB more for each connection.
TLS_BUFFER_BYTES = 256 * 1024
ERROR = "jobworker: error: "  # begins the line that has why an agent did not start
CHECK_LIMIT_SECONDS = 60.0  # for an agent that only checks whether it would start


def main(arguments: Sequence[str] | None = None) -> None:
    """Run an agent until it ends; `arguments` are those of the command line, None: of this process."""
    options = _parser().parse_args(arguments)
    preflight.prepare()
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    syscalls.map_large_blocks(TLS_BUFFER_BYTES)
    os.umask(0o077)  # also for the files of SQLite; the keeper has its own for the jobs
    try:
        home = Home((options.home or default_home()).absolute())
    except StartError as error:
        fail(error, options.ready)
    command = _command(home, options)
    if options.local and not options.check:
        preflight.leave_job()
        preflight.leave_caller({*options.inherited, *([] if options.ready is None else [options.ready])})
    inheritance.keep_out_of_cores()  # the keeper takes the default again, for the jobs
    try:
        preflight.require()
        read = functools.partial(_configuration, home, options.config)
        settings = read()
        agent_log.set_up(agent_log.TEXT if options.check else settings.agent.log_format, settings.log_levels)
        bound_libraries()
        if options.check:
            check(home, settings)
            return
        service = Service(os.environ, local=options.local)
        may_restart = functools.partial(require_start, [*command, "--check"])
        agent = app.Agent(
            home, settings, read, service, may_restart, local=options.local, inherited=options.inherited
        )
        kept = uvloop.run(agent.run(options.ready))
    except JobworkerError as error:
        fail(error, options.ready)
    except OSError as error:
        denied = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        hint = "set JOBWORKER_HOME to a folder of the agent's own that it can write" if denied else ""
        if error.filename is None:  # of a call that has no file, such as a socket's: not the state folder's fault
            sys.excepthook(OSError, error, error.__traceback__)  # else nothing names the call
            fail(StartError(f"a system call failed: {error.strerror or error}"), options.ready)
        fail(StartError(f"{error.filename}: {error.strerror}", hint=hint), options.ready)
    if kept:  # execve keeps the pid: as an ancestor of its keeper the agent inherits the jobs of a keeper that dies
        for fd in kept:
            os.set_inheritable(fd, True)
        command = [*command, "--inherited", *map(str, kept)]
        with descriptors.original_limit():
            os.execve(command[0], command, os.environ | service.variables)


def _parser() -> argparse.ArgumentParser:
    """Return the parser. An agent of the previous version passes these arguments when it restarts into this one."""
    parser = argparse.ArgumentParser(prog="python -m jobworker", description="Run the agent.")
    parser.add_argument("--home", type=Path, help="the state folder")
    parser.add_argument("--config", type=Path, help="the configuration")
    parser.add_argument("--local", action="store_true", help="as the local agent: in the background, on any port")
    parser.add_argument("--ready", type=int, help="write to this descriptor when the agent listens")
    parser.add_argument("--check", action="store_true", help="only check whether the agent would start")
    parser.add_argument("--inherited", type=int, nargs="+", default=(), help="locks and socket of the agent before")
    return parser


def _configuration(home: Home, given: Path | None) -> config.Config:
    """Read the configuration; raise StartError."""
    path = given or (home.config if home.config.exists() else None)
    if path is not None:
        require_trusted(path)  # a configuration decides which code runs as the agent
    return config.load(path)


def _command(home: Home, options: argparse.Namespace) -> list[str]:
    """Return the command that starts an agent in place of this one."""
    command = [sys.executable, "-P", "-m", "jobworker", "--home", str(home.path)]
    if options.config:
        command += ["--config", str(options.config.absolute())]
    if options.local:
        command.append("--local")
    return command


def check(home: Home, settings: config.Config) -> None:
    """Raise StartError if plugins, settings, certificates or addresses would keep an agent from starting here."""
    require_users(settings)
    tracing.require(settings.traces.endpoint)
    loader.try_out(settings, home.path)
    if settings.server.cert or (home.tls / "ca.pem").exists():
        setup.load(home, settings.server)
    else:
        setup.require_own(settings.server)
    for sock in bind(settings.server.hosts, [0]):  # the port itself may be that of the agent that runs
        sock.close()


async def require_start(command: Sequence[str]) -> None:
    """Run a command that checks whether an agent would start; raise InvalidState if it would not.

    The command runs the program as it is on disk now, which may be another version.
    """
    try:
        checked = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, check=False, timeout=CHECK_LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired:
        reason, hint = f"the check did not end within {CHECK_LIMIT_SECONDS:g} s", ""
    else:
        if not checked.returncode:
            return
        reason, hint = reason_in(checked.stderr.decode(errors="replace"))
    text = f"the agent would not start again and runs on unchanged: {reason}"
    raise InvalidState(text, hint=hint, state="running")


def reason_in(output: str) -> tuple[str, str]:
    """Return why an agent did not start and a hint: what `fail` has written, else the end of a traceback."""
    reason, _, hint = output.strip().rpartition(ERROR)[2].partition("\nhint: ")
    if "Traceback (most recent call last)" in reason:
        logging.getLogger("jobworker").error("an agent that was to check a start failed: %s", reason)
        reason, hint = reason.rpartition("\n")[2], "the log of the agent has the traceback"
    return reason[-1000:], hint


def fail(error: JobworkerError, ready: int | None) -> NoReturn:
    """Write why the agent did not start, to stderr and to the descriptor `ready`; exit 1."""
    text = f"{error.message}\n" + (f"hint: {error.hint}\n" if error.hint else "")
    if ready is not None:
        os.write(ready, text.encode())
    if not agent_log.report(error):
        sys.stderr.write(f"{ERROR}{text}")
    sys.exit(1)


def run() -> NoReturn:
    """Run `main` as the whole process, and leave without waiting for the threads of plugins."""
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    run()
