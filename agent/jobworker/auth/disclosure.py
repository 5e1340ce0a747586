"""Hide the values of a job's environment from callers that see the job and do not control it.

They may be passwords. The names of the variables are shown.
"""

from typing import Any

from msgspec.structs import replace

from jobworker.auth.access import Permissions
from jobworker.model import Job
from jobworker.protocol import HIDDEN
from jobworker.results import JobPage, Run

WITH_SPECS = {Job, JobPage, Run}  # the types of results that have specs of jobs


def disclosed(permissions: Permissions, result: Any) -> Any:
    """Return a result of one of these types as this caller may see it."""
    kind = type(result)
    if kind is Job:
        return _without_values(permissions, result)
    if kind is JobPage:
        return replace(result, jobs=[_without_values(permissions, job) for job in result.jobs])
    return replace(result, job=_without_values(permissions, result.job))


def _without_values(permissions: Permissions, job: Job) -> Job:
    if not job.spec.env or permissions.controls(job):
        return job
    return replace(job, spec=replace(job.spec, env=dict.fromkeys(job.spec.env, HIDDEN)))
