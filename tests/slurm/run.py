"""Print the figures of jobs on Slurm: ``python -m tests.slurm.run [LINE...]``; exit with 1 if a promise is broken."""

import asyncio
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from tests.slurm.cluster import Cluster, missing
from tests.slurm.lines import LINES
from tests.slurm.site import Site


async def main(wanted: list[str]) -> int:
    """Run the lines of these names, by default all, on one cluster; return the exit code."""
    broken = 0
    folder = Path(tempfile.mkdtemp(prefix="jw-slurm-"))
    with Cluster(folder / "cluster") as cluster:
        async with Site(cluster, folder / "site") as site:
            for line in LINES:
                if wanted and line.__name__ not in wanted:
                    continue
                cluster.mend()
                try:
                    print(await line(site), flush=True)
                except Exception:
                    traceback.print_exc()
                    print(f"{line.__name__}: BROKEN", flush=True)
                    broken += 1
    shutil.rmtree(folder, ignore_errors=True)
    return 1 if broken else 0


if __name__ == "__main__":
    if why := missing():
        sys.exit(why)
    sys.exit(asyncio.run(main(sys.argv[1:])))
