"""Jobs that executors run: their start, and what an agent that starts finds of them."""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from jobworker.errors import DiskFull, InvalidSpec, JobNotFound, JobworkerError, NotSupported
from jobworker.executors import Executor
from jobworker.jobs import lifecycle
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.database import AGENT
from jobworker.jobs.plan import LaunchPlan
from jobworker.jobs.record import RemoteRecord, is_id
from jobworker.jobs.remote import runner
from jobworker.jobs.remote.executor import EngineCalls, quietly
from jobworker.jobs.remote.job import RemoteJob
from jobworker.jobs.remote.submitting import Submission, launch_of, make_folder
from jobworker.jobs.remote.watch import Watch, boottime_of
from jobworker.jobs.spec_rules import Specs
from jobworker.jobs.table import JobTable
from jobworker.model import State
from jobworker.plugin.host import PluginHost
from jobworker.tasks import Background

log = logging.getLogger(__name__)

SUBMIT_SECONDS = 2.0  # for which a start waits for the engine; then the job is queued all the same
FIND_AGAIN_SECONDS = 5.0  # until an engine that did not answer is asked again for the jobs that it has


class RemoteJobs:
    """Without a job of an executor, this costs nothing: no task, no folder, no request to an engine."""

    def __init__(
        self,
        executors: Mapping[str, Executor],
        host: PluginHost,
        specs: Specs,
        table: JobTable,
        tasks: Background,
    ) -> None:
        self.applied: Callable[[ActiveJob, State], None] = lambda active, was: None  # called after each change
        self._executors = executors
        self._host = host
        self._specs = specs
        self._table = table
        self._tasks = tasks
        self._calls: dict[str, EngineCalls] = {}  # by executor
        self._prepared: dict[str, asyncio.Task[None]] = {}  # by executor: has the runner be where its nodes find it
        self._watches: dict[str, Watch] = {}  # by executor

    def attach(self) -> None:
        """Give each job in memory that an executor runs its handle, for stops that go on."""
        for active in self._table:
            if (remote := active.record.remote) is None:
                continue
            self._attach(active)
            if Path(remote.folder).parent.name != self._table.agent:
                why = "this job table was restored, and another agent may have the job"
                self._table.save(active, lifecycle.lost(active.record, why, time.time_ns(), closed=True))
            process = active.record.process
            if active.record.job.started_at and process.boot != self._table.boot:
                started = boottime_of(active.record.job.started_at)
                self._table.save(active, active.record.with_process(started=started, boot=self._table.boot))

    def open(self, *, copied: bool) -> None:
        """Go on with the jobs of the agent before. `copied`: they are those of another agent."""
        if copied:
            self._table.agent = ""
            self._table.set_meta(AGENT, "")
            return
        left: dict[str, list[ActiveJob]] = {name: [] for name in self._executors}
        for active in self._table:
            if active.remote is not None and active.record.remote is not None and active.record.active:
                name = active.record.remote.executor
                left.setdefault(name, []).append(active)
                self._watch(name).add(active)
        if self._table.agent:  # else no executor was ever used here
            for name, jobs in left.items():
                self._tasks.spawn(self._adopt(name, jobs))

    async def _adopt(self, name: str, jobs: list[ActiveJob]) -> None:
        """Find the jobs of ours that the engine has: submit those that it never got, cancel those we do not know."""
        calls, prefix = self._calls_of(name), f"jw-{self._agent()[:8]}-"
        while True:
            try:
                found = await calls.find(prefix)
                break
            except JobworkerError as error:
                log.warning("%s: %s; its jobs are looked for again", name, error.message)
                await asyncio.sleep(FIND_AGAIN_SECONDS)
        for active in jobs:
            remote = active.record.remote
            if remote is not None and not remote.engine_id and not active.record.job.state.final:
                await self._prepare(name)
                submission = self._submission(active, self._specs.plan_of(active))
                self._tasks.spawn(submission.run(ask_first=True))
        for tag, engine_id in found.items():
            if await self._unknown(tag.removeprefix(prefix)):
                why = await quietly(calls.cancel(tag, engine_id))
                log.warning(
                    "%s: %s (%s) is no job of the table: cancelled%s", name, tag, engine_id, why and f": {why}"
                )

    async def _unknown(self, job: str) -> bool:
        """Whether nothing of a job with this id should be in an engine."""
        if self._table.active(job) is not None:
            return False
        try:
            record = await self._table.load(job) if is_id(job) else None
        except JobNotFound:
            return True
        return record is None or record.remote is None or record.job.state == State.EXITED

    def require_user(self, plan: LaunchPlan) -> None:
        """Raise NotSupported if the executor of a job cannot run it as its user."""
        spec = plan.spec.elsewhere()
        executor = None if spec is None else self._executors.get(spec.name)
        if executor is not None and plan.user is not None and not executor.users:
            text = f"spec.user: the executor {executor.name!r} runs jobs as the agent's own user only"
            raise NotSupported(text, field="user")

    async def start(self, active: ActiveJob, plan: LaunchPlan) -> None:
        """Submit a created job; return when the engine has taken or refused it, or does not answer soon.

        Raises InvalidSpec for an executor that is not there any more, and DiskFull.
        """
        spec = active.record.job.spec.elsewhere()
        assert spec is not None
        executor = self._executors.get(spec.name)
        if executor is None:
            text = f"executor.name: no plugin registers the executor {spec.name[:80]!r}"
            raise InvalidSpec(text, field="executor")
        self.require_user(plan)
        if why := await self._prepare(spec.name):
            hint = "it must be there, shared with all nodes, and writable for the agent"
            raise DiskFull(f"{executor.folder}: the folder of {spec.name} cannot be used: {why}", hint=hint)
        agent = self._agent()
        place = str(Path(executor.folder) / agent / active.id)
        remote = RemoteRecord(spec.name, f"jw-{agent[:8]}-{active.id}", place)
        await make_folder(place, launch_of(active, plan, remote.tag, executor.kill_grace), active, self._table)
        self._table.save(active, lifecycle.queued(active.record, remote), by=active.record.job.owner)
        self._attach(active)
        self._watch(spec.name).add(active)
        await self._table.written()  # first: an agent after this one then looks for the tag
        submission = self._submission(active, plan)
        task = self._tasks.spawn(submission.run(ask_first=False))
        answered = asyncio.ensure_future(submission.answered.wait())
        await asyncio.wait({task, answered}, timeout=SUBMIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        answered.cancel()

    def _submission(self, active: ActiveJob, plan: LaunchPlan) -> Submission:
        remote = active.record.remote
        assert remote is not None
        calls = self._calls_of(remote.executor)
        executor = calls.executor
        program = runner.program(str(Path(remote.folder).parents[1]), Path(remote.folder).parent.name)
        command = [executor.python if executor else "python3", "-I", "-S", program, remote.folder]
        return Submission(active, plan, command, calls, self._table, self.applied)

    async def _prepare(self, name: str) -> str:
        """Have the runner be where the nodes find it, once for all jobs; return why it cannot be."""
        if (executor := self._executors.get(name)) is None:
            return ""
        if (task := self._prepared.get(name)) is None:
            users = os.geteuid() == 0 and executor.users
            work = asyncio.to_thread(runner.prepare, executor.folder, self._agent(), users=users)
            task = self._prepared[name] = asyncio.ensure_future(work)
        try:
            await asyncio.shield(task)
        except OSError as error:
            if self._prepared.get(name) is task:
                del self._prepared[name]  # for the next job
            return error.strerror or str(error)
        return ""

    def _attach(self, active: ActiveJob) -> None:
        active.remote = RemoteJob(active, partial(self._ring, active), partial(self._cancel, active))

    async def _ring(self, active: ActiveJob) -> None:
        remote = active.record.remote
        if remote is not None and remote.engine_id:
            await quietly(self._calls_of(remote.executor).ring(remote.tag, remote.engine_id))

    async def _cancel(self, active: ActiveJob) -> str:
        """Have the engine end a job; return why it did not."""
        remote = active.record.remote
        if remote is None or not remote.engine_id:
            return ""
        return await quietly(self._calls_of(remote.executor).cancel(remote.tag, remote.engine_id))

    def _agent(self) -> str:
        """Return the id of this agent, made when it is first needed."""
        if not self._table.agent:
            self._table.agent = secrets.token_hex(16)
            self._table.set_meta(AGENT, self._table.agent)
        return self._table.agent

    def _calls_of(self, name: str) -> EngineCalls:
        if name not in self._calls:
            self._calls[name] = EngineCalls(name, self._executors.get(name), self._host)
        return self._calls[name]

    def _watch(self, name: str) -> Watch:
        if name not in self._watches:
            self._watches[name] = Watch(self._calls_of(name), self._table, self._tasks, self.applied)
        return self._watches[name]

    async def close(self) -> None:
        for watch in self._watches.values():
            watch.close()
        await asyncio.gather(*(calls.settle() for calls in self._calls.values()))
