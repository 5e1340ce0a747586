"""The composition root of the agent: put the parts together, run until told to end.

``python -m jobworker.app`` is how the local agent is started; ``jw agent run`` calls `main` as well.
"""

import argparse
import asyncio
import fcntl
import functools
import gc
import importlib
import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import uvloop

from jobworker import __version__, config, plugins
from jobworker.errors import InvalidState, JobworkerError, StartError
from jobworker.jobs.manager import JobManager
from jobworker.model import seconds, size
from jobworker.paths import Home, default_home, write_private
from jobworker.plugin_host import PluginHost
from jobworker.protocol import PATH
from jobworker.server.audit import Audit
from jobworker.server.authentication import Authenticator
from jobworker.server.authorization import Authorization
from jobworker.server.door import Door
from jobworker.server.listener import Listener, bind, tls_context
from jobworker.server.services import Services
from jobworker.tokens import TokenFile

log = logging.getLogger("jobworker")

importlib.import_module("jobworker.server.methods")  # each module registers its methods

LOCAL = ("localhost", "127.0.0.1", "::1")
LOCAL_TOKEN = "local"  # noqa: S105  # its name


class Agent:
    """One agent on one state folder."""

    def __init__(self, home: Home, settings: config.Config, *, local: bool, inherited: Sequence[int] = ()) -> None:
        self._home = home
        self._inherited = inherited
        self._config = settings
        self._local = local
        self._ending = asyncio.Event()
        self._hurry = asyncio.Event()
        on_shutdown = settings.agent.on_shutdown
        self._jobs_at_end: str = ("leave" if local else "stop") if on_shutdown == "auto" else on_shutdown

    async def run(self, ready: int | None) -> list[int]:
        """Serve until told to end; `ready` is a descriptor on which somebody waits for the start.

        Return, for a restart, the descriptors that the agent goes on with: its locks, and last the socket
        at which clients wait meanwhile.
        """
        locks, sock = self._take_over() if self._inherited else (self._lock(), self._bind())
        backlog = sock.dup()
        host, port = sock.getsockname()[:2]
        names = [*dict.fromkeys([*self._config.server.names, *LOCAL, *([] if host in ("0.0.0.0", "::") else [host])])]
        context, renew = self._tls(names)
        registry = plugins.load(self._config, self._home.path)
        plugin_host = PluginHost(registry.owner)
        jobs = JobManager(self._config, self._home, self._home.create_run_folder(), registry, plugin_host)
        providers = [registry.auth_providers[name] for name in self._config.auth.providers]
        tokens = TokenFile(self._home.tokens)
        audit = Audit(self._home.audit, size(self._config.audit.max_bytes, "audit.max_bytes"))
        door = Door(self._config.limits, Authenticator(providers, plugin_host), audit)
        authorizers = [registry.authorizers[name] for name in self._config.auth.authorizers]
        authorization = Authorization(authorizers, plugin_host)
        services = Services(
            self._config,
            jobs,
            registry,
            plugin_host,
            audit,
            door,
            authorization,
            tokens,
            self.shut_down,
            self.may_restart,
        )
        listener = Listener(services, sock, context, names)
        await jobs.open()
        self._make_local_token(tokens)
        shown = f"[{host}]" if ":" in host else host
        services.address = f"wss://{'localhost' if host in ('0.0.0.0', '::') else shown}:{port}{PATH}"
        self._handle_signals(renew)
        await listener.open()
        gc.collect()
        gc.freeze()  # what is there for good is not looked at again: a connection that is gone is found soon
        self._announce(services.address, ready)
        await self._ending.wait()
        log.info("ending; running jobs: %s", self._jobs_at_end)
        jobs.refusing = "the agent is ending"
        if self._jobs_at_end == "stop":
            await self._stop_jobs(jobs)
        restart = self._jobs_at_end == "restart"
        await listener.close(restart=restart)
        await jobs.close(restart=restart)
        plugin_host.close()
        audit.close()
        if restart:
            return [*locks, backlog.detach()]
        for lock in locks:
            os.close(lock)
        backlog.close()
        return []

    def _lock(self) -> list[int]:
        """Make sure that this is the only agent on the state folder; raise StartError."""
        self._home.create()
        locks = self._home.open_locks(create=True)
        try:
            for lock in locks:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a kind that tells who holds it: F_GETLK
        except (BlockingIOError, PermissionError):
            raise StartError(
                f"{self._home.path}: another agent runs on this state folder",
                hint="`jw agent info` shows it, `jw agent stop` ends it",
            ) from None
        return locks

    def _take_over(self) -> tuple[list[int], socket.socket]:
        for fd in self._inherited:
            os.set_inheritable(fd, False)
        *locks, sock = self._inherited
        return locks, socket.socket(fileno=sock)

    def _bind(self) -> socket.socket:
        return bind(self._config.server.host, self._ports())

    def _ports(self) -> list[int]:
        """Return the ports to try: the local agent keeps the one it had, and takes any other if it must."""
        if not self._local:
            return [self._config.server.port]
        try:
            return [int(json.loads(self._home.address.read_bytes())["port"]), 0]
        except (OSError, ValueError, KeyError, TypeError):
            return [0]

    def _tls(self, names: list[str]) -> tuple[ssl.SSLContext, functools.partial[None]]:
        server = self._config.server
        if server.cert:
            cert, key = Path(server.cert), Path(server.key)
        else:
            cert, key = self._home.tls / "server.pem", self._home.tls / "server.key"
            if not (self._home.tls / "ca.pem").exists():
                from jobworker import certificates  # a tenth of a second, once in the life of a state folder

                certificates.make_all(self._home.tls, names)
        context = tls_context(cert, key)
        return context, functools.partial(context.load_cert_chain, cert, key)

    def _make_local_token(self, tokens: TokenFile) -> None:
        """Give whoever can read the state folder a way in: that is the agent's own user."""
        try:
            token = self._home.local_token.read_text().strip()
            if tokens.find(token):
                return
        except (FileNotFoundError, JobworkerError):
            pass
        tokens.revoke(LOCAL_TOKEN)
        write_private(self._home.local_token, tokens.create(LOCAL_TOKEN, ["admin"], ["admin"]).encode() + b"\n")

    def _announce(self, address: str, ready: int | None) -> None:
        port = int(address.removesuffix(PATH).rpartition(":")[2])
        described = {"address": address, "port": port, "pid": os.getpid(), "version": __version__}
        try:
            write_private(self._home.address, json.dumps(described).encode())
        except OSError as error:
            if self._ports()[0] != port:
                raise StartError(f"{self._home.address}: {error.strerror}: nobody would find the agent") from error
            log.error("%s says where the agent is, but not its pid: %s", self._home.address, error.strerror)
        log.info("listening on %s, state in %s, pid %d", address, self._home.path, os.getpid())
        if os.geteuid() == 0:
            log.warning("jobs run as root: whoever may create jobs is as powerful as the agent")
        if ready is not None:
            os.write(ready, b"ready\n")
            os.close(ready)

    def shut_down(self, jobs: str) -> None:
        """Begin to end; `jobs` is `stop`, `leave`, or `restart`: jobs are left and the agent is back at once."""
        self._jobs_at_end = jobs
        self._ending.set()

    async def may_restart(self) -> None:
        """Raise InvalidState where program or configuration, as they are on disk now, would not start."""
        checked = await asyncio.to_thread(subprocess.run, [*_command(), "--check"], capture_output=True, check=False)
        if checked.returncode:
            reason = checked.stderr.decode(errors="replace").strip()[-1000:]
            raise InvalidState(f"the agent would not start again and goes on as it is: {reason}", state="running")

    def _handle_signals(self, renew: functools.partial[None]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_end)
        loop.add_signal_handler(signal.SIGHUP, self._reload, renew)

    def _told_to_end(self) -> None:
        if self._ending.is_set():
            self._hurry.set()
        self._ending.set()

    def _reload(self, renew: functools.partial[None]) -> None:
        """Take the certificate anew; a broken pair is kept out, the old one stays."""
        try:
            renew()
            log.info("the certificate was read again")
        except (ssl.SSLError, OSError) as error:
            log.error("the new certificate is not used: %s", error)

    async def _stop_jobs(self, jobs: JobManager) -> None:
        limit = seconds(self._config.agent.shutdown_limit, "agent.shutdown_limit")
        stopping = asyncio.ensure_future(jobs.stop_all("agent"))
        hurried = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({stopping, hurried}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            log.warning("the jobs take too long to end: killing them")
            await jobs.kill_all()
            await asyncio.wait({stopping}, timeout=limit)
        hurried.cancel()


def fail(error: JobworkerError, ready: int | None) -> NoReturn:
    """Say why the agent did not start, to the terminal or to whoever waits for it; exit 1."""
    text = f"{error.message}\n" + (f"hint: {error.hint}\n" if error.hint else "")
    if ready is not None:
        os.write(ready, text.encode())
    sys.stderr.write(f"jobworker: error: {text}")
    sys.exit(1)


_arguments: list[str] = []  # of this process, to be given to the one that takes its place


def _command() -> list[str]:
    return [sys.executable, "-m", "jobworker.app", *_arguments]


def check(home: Home, settings: config.Config) -> None:
    """Raise StartError for what would keep an agent from starting in the place of the one that runs."""
    plugins.load(settings, home.path)
    if settings.server.cert:
        tls_context(Path(settings.server.cert), Path(settings.server.key))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m jobworker.app", description="Run the agent.")
    parser.add_argument("--home", type=Path, default=default_home(), help="the state folder")
    parser.add_argument("--config", type=Path, help="the configuration")
    parser.add_argument("--local", action="store_true", help="as the local agent: in the background, on any port")
    parser.add_argument("--ready", type=int, help="a descriptor to tell that the agent listens")
    parser.add_argument("--check", action="store_true", help="only see whether it would start")
    parser.add_argument("--inherited", type=int, nargs="+", default=(), help="locks and socket of the agent before")
    options = parser.parse_args(arguments)
    os.umask(0o077)  # also for the files of SQLite; the keeper has its own for the jobs
    home = Home(options.home.absolute())
    _arguments[:] = ["--home", str(home.path)]
    if options.config:
        _arguments.extend(["--config", str(options.config.absolute())])
    if options.local:
        _arguments.append("--local")
    try:
        path = options.config or (home.config if home.config.exists() else None)
        settings = config.load(path)
        level = settings.agent.log_level.upper()
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
        logging.getLogger("websockets").setLevel(logging.WARNING)
        if options.check:
            check(home, settings)
            return
        agent = Agent(home, settings, local=options.local, inherited=options.inherited)
        kept = uvloop.run(agent.run(options.ready))
    except JobworkerError as error:
        fail(error, options.ready)
    except OSError as error:
        fail(StartError(f"{error.filename or home.path}: {error.strerror}"), options.ready)
    if kept:  # in place: an agent that stays its keeper's ancestor inherits the jobs of one that dies
        for fd in kept:
            os.set_inheritable(fd, True)
        command = [*_command(), "--inherited", *map(str, kept)]
        os.execv(command[0], command)


if __name__ == "__main__":
    main()
