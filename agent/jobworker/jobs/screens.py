"""The screens of jobs with a terminal: a model for each job whose screen is read, and none for the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from jobworker.errors import InvalidState
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.table import JobTable
from jobworker.jobs.worker_thread import WorkerThread
from jobworker.screen import MAX_CELLS

if TYPE_CHECKING:
    from jobworker.jobs.screen_model import Picture, ScreenModel

MAX_USED = 8  # models that take output at a time; further calls wait
MAX_IDLE_CELLS = 1 << 18  # characters, in the models that are kept for the next call
IDLE_SECONDS = 60.0  # that a model is kept after it was used


class _Kept:
    """The model of one job, and the calls that use it."""

    def __init__(self, model: "ScreenModel") -> None:
        self.model = model
        self.lock = asyncio.Lock()
        self.users = 0
        self.used_at = 0.0  # on the clock of the loop


class Screens:
    """Keeps models in the order of their use, drops them when they are idle or many, and has them take the logs."""

    def __init__(self, table: JobTable) -> None:
        self._table = table
        self._kept: dict[str, _Kept] = {}
        self._used = asyncio.Semaphore(MAX_USED)
        self._worker: WorkerThread | None = None  # from the first call on
        self._sweep: asyncio.TimerHandle | None = None

    async def catch_up(self, job: str) -> None:
        """Have the model of the job take all output by now; raise InvalidState if the job has no terminal."""
        async with self._taken(job):
            pass

    async def read(self, job: str, *, ansi: bool) -> "Picture":
        """Return what the terminal of the job shows; raise InvalidState if it has none. Quick after `catch_up`."""
        async with self._taken(job) as model:
            return await self._thread().do(partial(model.picture, ansi=ansi))

    @asynccontextmanager
    async def _taken(self, job: str) -> AsyncIterator["ScreenModel"]:
        """Have the model of a job take the output by now, and keep it as it is inside the block."""
        async with self._table.held(job) as active, self._used, self._model_of(active) as kept, kept.lock:
            model, worker = kept.model, self._thread()
            _check_size(active, *await worker.do(model.size))
            await worker.do(model.begin)
            while not await worker.do(model.advance):
                pass
            yield model

    def _thread(self) -> WorkerThread:
        if self._worker is None:
            self._worker = WorkerThread("screens")
        return self._worker

    @asynccontextmanager
    async def _model_of(self, active: ActiveJob) -> AsyncIterator[_Kept]:
        """Keep the model of a job inside the block; a call that fails leaves none behind."""
        kept = self._kept.pop(active.id, None) or _Kept(self._new(active))
        self._kept[active.id] = kept  # the newest
        kept.users += 1
        try:
            yield kept
        except Exception:
            self._kept.pop(active.id, None)
            raise
        finally:
            kept.users -= 1
            kept.used_at = asyncio.get_running_loop().time()
            self._drop_idle()

    def _new(self, active: ActiveJob) -> "ScreenModel":
        from jobworker.jobs.screen_model import ScreenModel  # most agents never need it

        tty = active.record.job.spec.terminal()
        if tty is None:
            hint = "create it with `tty` in its spec; log.read has its output"
            raise InvalidState(f"job {active.id} has no terminal", hint=hint, state=active.record.job.state)
        return ScreenModel(self._table.log_path(active.id), tty.rows, tty.cols)

    def _drop_idle(self) -> None:
        """Drop models that were not used for a while, and the oldest of too many."""
        loop = asyncio.get_running_loop()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        cells = 0
        for job, kept in reversed([*self._kept.items()]):
            cells += kept.model.cells
            if not kept.users and (cells > MAX_IDLE_CELLS or loop.time() - kept.used_at >= IDLE_SECONDS):
                del self._kept[job]
        if self._kept:
            self._sweep = loop.call_later(IDLE_SECONDS, self._drop_idle)

    def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        if self._worker is not None:
            self._worker.end()


def _check_size(active: ActiveJob, rows: int, cols: int) -> None:
    if rows * cols > MAX_CELLS:
        text = (
            f"the terminal of job {active.id} has {rows} rows of {cols} columns; its screen is kept up to {MAX_CELLS}"
        )
        raise InvalidState(
            f"{text} characters", hint="make it smaller with job.resize", state=active.record.job.state
        )
