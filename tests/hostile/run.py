"""Send an agent what nobody should, beside a good user, and print what came of it.

``python tests/hostile/run.py [PART...]``: all, or those whose name begins so. Exits 1 where a promise was broken.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.hostile import beside, corpus, descriptors, floods, fuzz, leaks, logins, planted, unseen
from tests.hostile.outcome import Outcome, broken

SEED = 20261124
PARTS: dict[str, Callable[[Path, argparse.Namespace], Awaitable[Outcome]]] = {
    "corpus": lambda path, given: corpus.attack(path, short=given.short),
    "logins": lambda path, given: logins.guess(path, many=500 if given.short else 10_000),
    "unseen": lambda path, given: unseen.compare(path, many=50 if given.short else 1000),
    "descriptors": lambda path, given: descriptors.use_up(path, many=150),
    "fuzz": lambda path, given: fuzz.throw(path, seconds=given.seconds, first=SEED),
    "events": lambda path, given: floods.unread_events(path),
    "status": lambda path, given: floods.unread_answers(path, "job.status"),
    "waits": lambda path, given: floods.unread_answers(path, "job.wait"),
    "lists": lambda path, given: floods.unread_answers(path, "job.list"),
    "batch": lambda path, given: floods.large_batch(path),
    "stops": lambda path, given: floods.stop_options(path),
    "specs": lambda path, given: floods.large_specs(path),
    "policies": lambda path, given: floods.many_policies(path),
    "beside-launches": lambda path, given: beside.compare(path, "launches", rounds=1 if given.short else 4),
    "beside-floods": lambda path, given: beside.compare(path, "floods", rounds=1 if given.short else 4),
    "planted": lambda path, given: planted.look(path),
    "secrets": lambda path, given: leaks.look(path),
}


async def run(names: list[str], given: argparse.Namespace) -> list[Outcome]:
    outcomes = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="jobworker-hostile-") as folder:
            outcomes.append(await PARTS[name](Path(folder) / name, given))
        print(outcomes[-1].row(), flush=True)
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py", description="Send an agent what nobody should.")
    parser.add_argument("part", nargs="*", help=f"one or more of: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--short", action="store_true", help="fewer of each")
    parser.add_argument("--seconds", type=float, default=60, help="how long to fuzz (default: 60)")
    options = parser.parse_args()
    given: list[str] = options.part
    names = [name for name in PARTS if not given or any(name.startswith(start) for start in given)]
    began = time.monotonic()
    failures = broken(asyncio.run(run(names, options)), times=True)
    print(f"{time.monotonic() - began:.0f} s; " + ("\n  ".join(failures) or "every promise held"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
