"""The composition root of the agent: put the parts together, run until told to end.

``python -m jobworker.app`` is how the local agent is started; ``jw agent run`` calls `main` as well.
"""

import argparse
import asyncio
import errno
import fcntl
import functools
import gc
import importlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import uvloop

from jobworker import __version__, config, preflight
from jobworker.auth.admission import Admission
from jobworker.auth.audit import Audit
from jobworker.auth.authentication import Authenticator
from jobworker.auth.authorization import Authorization
from jobworker.auth.sessions import SessionRegistry
from jobworker.errors import InvalidState, JobworkerError, StartError
from jobworker.jobs.manager import JobManager
from jobworker.model import seconds, size
from jobworker.paths import Home, default_home, write_private
from jobworker.plugin import loader as plugins
from jobworker.plugin.host import PluginHost
from jobworker.protocol import PATH
from jobworker.server.listener import Listener, bind
from jobworker.server.services import Services
from jobworker.service import Service, own_unit
from jobworker.tls.context import Mismatch, Tls, plain
from jobworker.tls.renewal import Renewal
from jobworker.tokens import TokenFile

log = logging.getLogger("jobworker")

importlib.import_module("jobworker.server.methods")  # each module registers its methods

LOCAL = ("localhost", "127.0.0.1", "::1")
# Seconds for which a thread keeps the interpreter when another wants it. With Python's 5 ms a plugin that computes,
# and lets go of it for a moment every millisecond or so, keeps the loop waiting for seconds: each time it does, the
# wait begins anew.
SWITCH = 20e-6
CLOSE_LIMIT = 30.0  # seconds for clients, keeper and job table, once the jobs have ended or are left
CHECK_LIMIT = 60.0  # seconds for an agent that is only to see whether it would start
LOCAL_TOKEN = "local"  # noqa: S105  # its name


class Agent:
    """One agent on one state folder."""

    def __init__(
        self, home: Home, settings: config.Config, service: Service, *, local: bool, inherited: Sequence[int] = ()
    ) -> None:
        self._home = home
        self._inherited = inherited
        self._config = settings
        self._service = service
        self._local = local
        self._status = ""  # as the service manager shows it
        self._ending = asyncio.Event()
        self._hurry = asyncio.Event()
        self._jobs_at_end: str = settings.agent.on_shutdown
        if self._jobs_at_end == "auto":  # only at a terminal nobody expects jobs to outlive the agent
            self._jobs_at_end = "leave" if local or service.managed else "stop"

    async def run(self, ready: int | None) -> list[int]:
        """Serve until told to end; `ready` is a descriptor on which somebody waits for the start.

        Return, for a restart, the descriptors that the agent goes on with: its locks, and last the socket
        at which clients wait meanwhile.
        """
        self._service.open()
        locks, sock = self._take_over() if self._inherited else (self._lock(), self._bind())
        backlog = sock.dup()
        host, port = sock.getsockname()[:2]
        names = [*dict.fromkeys([*self._config.server.names, *LOCAL, *([] if host in ("0.0.0.0", "::") else [host])])]
        tls = self._tls(names)
        services = self._services(tls)
        jobs = services.jobs
        listener = Listener(services, sock, tls, names)
        await jobs.open()
        self._make_local_token(services.tokens)
        shown = f"[{host}]" if ":" in host else host
        services.address = f"wss://{'localhost' if host in ('0.0.0.0', '::') else shown}:{port}{PATH}"
        renewal = self._renewal(tls, names)
        self._handle_signals(renewal)
        await listener.open()
        renewal.open()
        gc.collect()
        gc.freeze()  # what is there for good is not looked at again: a connection that is gone is found soon
        self._announce(services.address, ready)
        await self._ending.wait()
        if self._jobs_at_end == "leave" and os.getpid() == 1:
            log.warning("the container ends with its first process: jobs cannot be left running, and are stopped")
            self._jobs_at_end = "stop"
        log.info("ending; running jobs: %s", self._jobs_at_end)
        self._report_end()
        jobs.refusing = "the agent is ending"
        if self._jobs_at_end == "stop":
            await self._stop_jobs(jobs)
        restart = self._jobs_at_end == "restart"
        renewal.close()
        await listener.close(restart=restart)
        await jobs.close(restart=restart, finish=self._jobs_at_end == "stop")
        services.plugin_host.close()
        services.audit.close()
        self._service.close()
        if restart:
            self._hold_signals()
            return [*locks, backlog.detach()]
        for lock in locks:
            os.close(lock)
        backlog.close()
        return []

    def _services(self, tls: Tls) -> Services:
        """Put together what the methods work on."""
        plugin_host = PluginHost(seconds(self._config.limits.plugin_call, "limits.plugin_call"))
        registry = plugins.load(self._config, self._home.path, plugin_host)
        providers = [registry.auth_providers[name] for name in self._config.auth.providers]
        authorizers = [registry.authorizers[name] for name in self._config.auth.authorizers]
        audit = Audit(self._home.audit, size(self._config.audit.max_bytes, "audit.max_bytes"))
        sessions = SessionRegistry(self._config.limits)
        return Services(
            config=self._config,
            jobs=JobManager(self._config, self._home, self._home.create_run_folder(), registry, plugin_host),
            registry=registry,
            plugin_host=plugin_host,
            audit=audit,
            admission=Admission(self._config.limits, Authenticator(providers, plugin_host), audit, sessions),
            sessions=sessions,
            authorization=Authorization(authorizers, plugin_host),
            tokens=TokenFile(self._home.tokens),
            shut_down=self.shut_down,
            may_restart=self.may_restart,
            tls=tls,
        )

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

    def _tls(self, names: list[str]) -> Tls:
        """Return TLS with the files that are configured, or with our own, which are made where there are none."""
        server = self._config.server
        if not server.cert and not (self._home.tls / "ca.pem").exists():
            from jobworker.tls import certificates  # a tenth of a second, seldom

            certificates.make_all(self._home.tls, names)
        try:
            tls = _tls(self._home, server)
        except Mismatch:  # of ours: whoever renewed them was killed in between
            if server.cert:
                raise
            self._remake(names)
            return _tls(self._home, server)
        if not server.cert and not set(map(plain, names)) <= set(tls.certificate.names):
            try:
                self._remake(names)
                tls.renew()
            except (StartError, OSError) as error:
                log.warning("the certificate does not have all of %s: %s", ", ".join(names), error)
        return tls

    def _remake(self, names: list[str]) -> None:
        from jobworker.tls import certificates

        certificates.renew(self._home.tls, names)
        log.info("the agent's own certificate was made anew")

    def _renewal(self, tls: Tls, names: list[str]) -> Renewal:
        remake = None if self._config.server.cert else functools.partial(self._remake, names)
        return Renewal(tls, remake, seconds(self._config.server.expiry_warning, "server.expiry_warning"))

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
        described: dict[str, Any] = {"address": address, "port": port, "pid": os.getpid(), "version": __version__}
        if self._service.managed:
            described["unit"] = own_unit()  # `jw` waits for it in place of starting an agent beside it
        try:
            write_private(self._home.address, json.dumps(described).encode())
        except OSError as error:
            if self._ports()[0] != port:
                raise StartError(f"{self._home.address}: {error.strerror}: nobody would find the agent") from error
            log.error("%s says where the agent is, but not its pid: %s", self._home.address, error.strerror)
        log.info("listening on %s, state in %s, pid %d", address, self._home.path, os.getpid())
        if os.geteuid() != 0:
            log.warning("all jobs run as the agent's own user: whoever may create jobs is as powerful as the agent")
        elif not self._config.jobs.user:
            log.warning("jobs that name no user run as root, which only an admin may have: jobs.user is not set")
        self._status = f"listening on {address}"
        self._service.ready(self._status)
        if ready is not None:
            os.write(ready, b"ready\n")
            os.close(ready)

    def _report_end(self) -> None:
        if self._jobs_at_end == "restart":
            self._service.reloading("restarting in place")
        else:
            limit = seconds(self._config.agent.shutdown_limit, "agent.shutdown_limit")
            self._service.stopping(f"ending; running jobs: {self._jobs_at_end}", 2 * limit + CLOSE_LIMIT)

    def shut_down(self, jobs: str) -> None:
        """Begin to end; `jobs` is `stop`, `leave`, or `restart`: jobs are left and the agent is back at once.

        An agent that is ending already goes on as it began: a restart would undo the SIGTERM before it.
        """
        if not self._ending.is_set():
            self._jobs_at_end = jobs
            self._ending.set()

    async def may_restart(self) -> None:
        """Raise InvalidState where program or configuration, as they are on disk now, would not start."""
        command = [*_command(), "--check"]
        try:
            checked = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, check=False, timeout=CHECK_LIMIT
            )
        except subprocess.TimeoutExpired:
            reason = f"it is not ready after {CHECK_LIMIT:g} s"
            raise InvalidState(
                f"the agent would not start again and goes on as it is: {reason}", state="running"
            ) from None
        if checked.returncode:
            reason = checked.stderr.decode(errors="replace").strip()[-1000:]
            raise InvalidState(f"the agent would not start again and goes on as it is: {reason}", state="running")

    def _handle_signals(self, renewal: Renewal) -> None:
        loop = asyncio.get_running_loop()
        for number in preflight.ENDING:
            loop.add_signal_handler(number, self._told_to_end)
        loop.add_signal_handler(signal.SIGHUP, self._reload, renewal)
        preflight.release_signals()  # a restart in place and a first process hold what comes before this line

    def _hold_signals(self) -> None:
        """Leave a signal that comes during a restart in place to the process that is executed.

        Without this a SIGTERM would be forgotten or, as a SIGHUP would, end the agent with its handlers gone.
        """
        preflight.hold_signals()
        if self._hurry.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _reload(self, renewal: Renewal) -> None:
        if not self._ending.is_set():
            self._service.reloading("reading the certificate again")
            renewal.reload()
            self._service.ready(self._status)

    def _told_to_end(self) -> None:
        if self._ending.is_set():
            self._hurry.set()
        self._ending.set()

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


def _tls(home: Home, server: config.Server) -> Tls:
    """Return TLS with the files that are configured, or with those of the state folder; raise StartError."""
    cert, key = (server.cert, server.key) if server.cert else (home.tls / "server.pem", home.tls / "server.key")
    return Tls(Path(cert), Path(key), Path(server.client_ca) if server.client_ca else None)


def check(home: Home, settings: config.Config) -> None:
    """Raise StartError for what would keep an agent from starting in the place of the one that runs."""
    plugins.try_out(settings, home.path)
    if settings.server.cert or (home.tls / "ca.pem").exists():
        _tls(home, settings.server)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m jobworker.app", description="Run the agent.")
    parser.add_argument("--home", type=Path, help="the state folder")
    parser.add_argument("--config", type=Path, help="the configuration")
    parser.add_argument("--local", action="store_true", help="as the local agent: in the background, on any port")
    parser.add_argument("--ready", type=int, help="a descriptor to tell that the agent listens")
    parser.add_argument("--check", action="store_true", help="only see whether it would start")
    parser.add_argument("--inherited", type=int, nargs="+", default=(), help="locks and socket of the agent before")
    options = parser.parse_args(arguments)
    preflight.prepare()
    sys.setswitchinterval(SWITCH)
    os.umask(0o077)  # also for the files of SQLite; the keeper has its own for the jobs
    try:
        home = Home(options.home.absolute() if options.home else default_home())
    except StartError as error:
        fail(error, options.ready)
    _arguments[:] = ["--home", str(home.path)]
    if options.config:
        _arguments.extend(["--config", str(options.config.absolute())])
    if options.local:
        _arguments.append("--local")
    try:
        preflight.require()
        path = options.config or (home.config if home.config.exists() else None)
        settings = config.load(path)
        level = settings.agent.log_level.upper()
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
        logging.getLogger("websockets").setLevel(logging.WARNING)
        if options.check:
            check(home, settings)
            return
        service = Service(os.environ, local=options.local)
        agent = Agent(home, settings, service, local=options.local, inherited=options.inherited)
        kept = uvloop.run(agent.run(options.ready))
    except JobworkerError as error:
        fail(error, options.ready)
    except OSError as error:
        denied = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        hint = "set JOBWORKER_HOME to a folder of the agent's own that it can write" if denied else ""
        fail(StartError(f"{error.filename or home.path}: {error.strerror}", hint=hint), options.ready)
    if kept:  # in place: an agent that stays its keeper's ancestor inherits the jobs of one that dies
        for fd in kept:
            os.set_inheritable(fd, True)
        command = [*_command(), "--inherited", *map(str, kept)]
        os.execve(command[0], command, os.environ | service.variables)


if __name__ == "__main__":
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    finally:
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)  # no thread of a plugin holds up the end
