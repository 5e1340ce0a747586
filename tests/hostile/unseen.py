"""How long an answer takes for a job that the caller may not see, and for one that is not there."""

import time
from pathlib import Path
from statistics import median

from tests.hostile.outcome import Outcome
from tests.hostile.target import Target

from jobworker.errors import JobNotFound
from jobworker.model import JobSpec

CONFIG = '[plugins.roles.private]\nlook = "own"\ncontrol = "own"\ncreate = true\n'
ALIKE = 0.1  # that one may take longer than the other


async def compare(path: Path, *, many: int) -> Outcome:
    outcome = Outcome("unseen")
    async with Target(path, outcome, config=CONFIG) as target:
        token = await target.token("private", "private")
        async with target.agent.client() as owner, target.agent.client(token) as private:
            foreign = await owner.start((await owner.create(JobSpec(argv=["sleep", "1000"]))).id)
            ended = await owner.start((await owner.create(JobSpec(argv=["true"]))).id)
            await owner.wait(ended.id, 10)
            missing = foreign.id[:-3] + ("000" if not foreign.id.endswith("000") else "111")
            for method in ("job.status", "job.stop"):
                took: dict[str, list[float]] = {foreign.id: [], ended.id: [], missing: []}
                said = {}
                for _ in range(many):
                    for job, times in took.items():
                        began = time.perf_counter()
                        try:
                            await private.call(method, id=job)
                        except JobNotFound as error:
                            said[job] = str(error.message).replace(job, "ID")
                        times.append(time.perf_counter() - began)
                        outcome.cases += 1
                outcome.require(len(set(said.values())) == 1 and len(said) == 3, f"{method}: other answers: {said}")
                running, over, none = (median(times) * 1e6 for times in took.values())
                outcome.notes.append(
                    f"{method}: medians of {many}: of somebody else, running {running:.0f} µs, ended {over:.0f} µs,"
                    f" missing {none:.0f} µs; ratio {running / none:.3f} and {over / none:.3f}"
                )
                for ratio in (running / none, over / none):
                    if abs(ratio - 1) > ALIKE:
                        outcome.figures.append(f"{method}: the time tells which it was: {ratio:.3f}")
    return outcome
