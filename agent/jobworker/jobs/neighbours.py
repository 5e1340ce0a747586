"""What else runs on the host, which a sweep for one job must leave alone."""

import os
from collections.abc import Iterable

from jobworker.host.keeper_link import KeeperLink
from jobworker.host.sweep import Neighbours
from jobworker.jobs.active import ActiveJob


def neighbours(jobs: Iterable[ActiveJob], link: KeeperLink) -> Neighbours:
    """Return the processes of ours, and the main processes of all jobs that may have processes."""
    running = (active.record for active in jobs if active.record.running and active.record.remote is None)
    mains = {record.job.pid: (record.job.id, record.process.start) for record in running if record.job.pid}
    keeper, pump = link.hello.get("pid", 0), link.hello.get("pump", 0)
    return Neighbours(keeper, frozenset({os.getpid(), keeper, pump}), mains)
