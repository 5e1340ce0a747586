"""The composition root of the agent: connect its parts, and run them until a signal or a call ends it."""

import asyncio
import gc
import importlib
import logging
import os
import runpy
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from jobworker import agent_log, config, log_files, preflight
from jobworker.audit_forward import Forward
from jobworker.auth.admission import Admission
from jobworker.auth.audit import Audit
from jobworker.auth.authentication import Authenticator
from jobworker.auth.authorization import Authorization
from jobworker.auth.page_logins import PageLogins
from jobworker.auth.peers import Peers
from jobworker.auth.proofs import Proofs
from jobworker.auth.sessions import SessionRegistry
from jobworker.errors import JobworkerError
from jobworker.instance import Instance
from jobworker.interfaces import Credentials
from jobworker.jobs import uid_pool
from jobworker.jobs.identity import require_users
from jobworker.jobs.manager import JobManager
from jobworker.paths import Home
from jobworker.plugin import loader
from jobworker.plugin.host import PluginHost
from jobworker.server.listener import Listener
from jobworker.server.origins import Origins
from jobworker.server.services import Services
from jobworker.service import Service
from jobworker.tasks import Background
from jobworker.tls import setup
from jobworker.tls.context import Tls
from jobworker.tls.renewal import Renewal
from jobworker.tokens import TokenFile
from jobworker.tracing import Tracing
from jobworker.units import seconds, size

log = logging.getLogger("jobworker")

importlib.import_module("jobworker.server.methods")  # each module registers its methods

CLOSE_LIMIT_SECONDS = 30.0  # for clients, keeper and job table, once the jobs have ended or are left


class Agent:
    """One agent on one state folder."""

    def __init__(
        self,
        home: Home,
        settings: config.Config,
        reread: Callable[[], config.Config],
        service: Service,
        may_restart: Callable[[], Awaitable[None]],
        *,
        local: bool,
        inherited: Sequence[int] = (),
    ) -> None:
        """`reread` reads the configuration again, for a reload; raises JobworkerError or OSError.

        `may_restart` raises if an agent would not start in place of this one; `inherited`: see `Instance`.
        """
        self._home = home
        self._inherited = inherited
        self._config = settings
        self._reread = reread
        self._reloads = Background()
        self._service = service
        self._may_restart = may_restart
        self._local = local  # started by `jw` in the background
        self._status = ""  # the last one that was sent to the service manager
        self._ending = asyncio.Event()  # set by the first signal to end, or by a call
        self._hurry = asyncio.Event()  # set by the second signal
        self._jobs_at_end: str = settings.agent.on_shutdown  # "stop", "leave" or "restart"
        if self._jobs_at_end == "auto":  # only an agent at a terminal is expected to end with its jobs
            self._jobs_at_end = "leave" if local or service.managed else "stop"

    async def run(self, ready: int | None) -> list[int]:
        """Serve until a signal or a call ends the agent; write to the descriptor `ready` when it listens.

        Return, for a restart, the descriptors that the next agent inherits; else none.
        """
        self._service.open()
        await asyncio.to_thread(require_users, self._config)
        server = self._config.server
        instance = Instance(self._home, server, local=self._local, inherited=self._inherited, unix=self._config.unix)
        tls = setup.load_or_create(self._home, server, instance.names)
        services = self._services(tls, instance)
        jobs = services.jobs
        listener = Listener(services, instance.sockets, instance.unix, tls)
        await jobs.open()  # before the listener: the first call must find the jobs that ran on
        instance.note_place()
        instance.create_local_token(services.tokens)
        end_revoked = partial(services.sessions.end_revoked, services.revoked.holds)
        renewal = setup.renewal(self._home, server, tls, instance.names, services.revoked, end_revoked)
        self._handle_signals(renewal)
        bounded = asyncio.create_task(log_files.bound([self._home.agent_log, self._home.keeper_log]))
        await listener.open()
        renewal.open()
        gc.collect()
        gc.freeze()  # later collections skip these objects, which stay, and free a closed connection soon
        await asyncio.to_thread(instance.remove_left_folders)
        instance.write_address(managed=self._service.managed)
        kept = asyncio.create_task(instance.keep_files(services.tokens, managed=self._service.managed))
        self._report_start(instance.url, ready)
        await self._ending.wait()
        if self._jobs_at_end == "leave" and os.getpid() == 1:
            log.warning("the container ends with its first process: jobs cannot be left running and are stopped")
            self._jobs_at_end = "stop"
        log.info("ending; running jobs: %s", self._jobs_at_end)
        self._report_end()
        jobs.refuse("the agent is ending")  # from here on no job starts
        if self._jobs_at_end == "stop":
            await self._stop_jobs(jobs)
        restart = self._jobs_at_end == "restart"
        renewal.close()
        for task in (bounded, kept):
            task.cancel()
        await listener.close(restart=restart)  # before the jobs: no call may need them after they are closed
        await jobs.close(restart=restart, finish=self._jobs_at_end == "stop")
        services.plugin_host.close()
        services.audit.close()
        if services.tracing is not None:
            services.tracing.close()
        self._service.close()
        if restart:
            self._hold_signals()
            return instance.hand_over()
        instance.release()
        return []

    def _services(self, tls: Tls, instance: Instance) -> Services:
        """Create the parts that the methods use."""
        plugin_host = PluginHost(seconds(self._config.limits.plugin_call, "limits.plugin_call"))
        registry = loader.load(self._config, self._home.path, plugin_host)
        for sentence in loader.never_asked(self._config, registry.plugins):
            log.warning("%s", sentence)
        providers = [registry.auth_providers[name] for name in self._config.auth.providers]
        authorizers = [registry.authorizers[name] for name in self._config.auth.authorizers]
        audited = self._config.audit
        to = audited.target
        forward = None if to is None else Forward(to)
        audit = Audit(self._home.audit, size(audited.max_bytes, "audit.max_bytes"), audited.files, forward)
        sessions = SessionRegistry(self._config.limits)
        tokens = TokenFile(self._home.tokens)
        roles = set().union(*(registry.roles[name] for name in self._config.auth.authorizers))
        peers = Peers(self._config.unix.users, roles)
        revoked = setup.load_revoked(self._home, self._config.server)
        proofs = Proofs(self._config.auth.providers, tokens, peers)
        lifetime = seconds(self._config.web.session, "web.session")
        pages = PageLogins(self._home.page_sessions, lifetime, proofs.of, revoked.holds)

        def recognizes(credentials: Credentials) -> bool:
            if credentials.scheme == "bearer":
                return tokens.recognizes(credentials.token)
            return credentials.scheme in ("ticket", "session") and pages.recognizes(credentials.token)

        endpoint = self._config.traces.endpoint
        tracing = Tracing(endpoint) if endpoint else None
        return Services(
            home=self._home,
            config=self._config,
            jobs=JobManager(self._config, self._home, self._home.create_run_folder(), registry, plugin_host, tracing),
            registry=registry,
            plugin_host=plugin_host,
            audit=audit,
            admission=Admission(
                self._config.limits,
                Authenticator(providers, plugin_host, revoked.holds),
                audit,
                sessions,
                peers,
                recognizes,
                pages,
            ),
            pages=pages,
            sessions=sessions,
            authorization=Authorization(authorizers, plugin_host, peers),
            peers=peers,
            tokens=tokens,
            shut_down=self.shut_down,
            may_restart=self._may_restart,
            tls=tls,
            revoked=revoked,
            origins=Origins(instance.names, instance.port, self._config.server.origins),
            address=instance.url,
            tracing=tracing,
        )

    def _report_start(self, address: str, ready: int | None) -> None:
        """Report to the log, to the service manager and to the process that started this one that it listens."""
        log.info("listening on %s, state in %s, pid %d", address, self._home.path, os.getpid())
        owners = "roles" in self._config.auth.authorizers  # of which "writer" has control = "own"
        for warning in uid_pool.warnings(self._config.uid_pool, self._config.jobs.user, owners=owners):
            log.warning("%s", warning)
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
            self._service.stopping(f"ending; running jobs: {self._jobs_at_end}", 2 * limit + CLOSE_LIMIT_SECONDS)

    def shut_down(self, jobs: str) -> None:
        """Begin to end; `jobs` is `stop`, `leave`, or `restart`: leave the jobs and start again in place.

        An agent that is ending already goes on as it began: a restart would undo the SIGTERM before it.
        """
        if not self._ending.is_set():
            self._jobs_at_end = jobs
            self._ending.set()

    def _handle_signals(self, renewal: Renewal) -> None:
        loop = asyncio.get_running_loop()
        for number in preflight.ENDING:
            loop.add_signal_handler(number, self._end)
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
            self._service.reloading("reading the certificate and agent.log_level again")
            renewal.reload()
            renewal.check()
            self._service.ready(self._status)
            self._reloads.spawn(self._set_log_levels())

    async def _set_log_levels(self) -> None:
        """Take `agent.log_level` as it is in the configuration now; the rest of it waits for a restart."""
        try:
            settings = await asyncio.to_thread(self._reread)
        except (JobworkerError, OSError) as error:
            log.error("agent.log_level stays as it was: %s", error)
            return
        agent_log.set_levels(settings.log_levels)
        log.info("agent.log_level is %s", settings.agent.log_level)

    def _end(self) -> None:
        if self._ending.is_set():
            self._hurry.set()
        self._ending.set()

    async def _stop_jobs(self, jobs: JobManager) -> None:
        limit = seconds(self._config.agent.shutdown_limit, "agent.shutdown_limit")
        stopping = asyncio.ensure_future(jobs.stop_all("agent"))
        hurried = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({stopping, hurried}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            log.warning("the jobs have not ended within agent.shutdown_limit: killing them")
            await jobs.kill_all()  # which lets the stops under way finish
            await asyncio.wait({stopping}, timeout=limit)
        hurried.cancel()


if __name__ == "__main__":  # an agent of the version before restarts in place as ``python -m jobworker.app``
    runpy.run_module("jobworker", run_name="__main__", alter_sys=True)
