"""Keep the ratios of a run, and compare them with those of the run that was committed last.

A ratio is a figure of ours by the limit measured beside it in the same rounds: it says the same on a slower machine.
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

COMMITTED = Path(__file__).with_name("results.json")
NOTABLE = 0.1  # of a ratio: smaller changes are noise
_ratios: dict[str, float] = {}  # of this run, by name


def keep(name: str, values: Sequence[float], limits: Sequence[float]) -> str:
    """Keep the median ratio of the rounds under a name; return it as text."""
    found = statistics.median(value / limit for value, limit in zip(values, limits, strict=True))
    _ratios[name] = round(found, 3)
    return f"{found:.2f}"


def compare() -> list[str]:
    """Return a line for each ratio that differs notably from the committed one."""
    committed: dict[str, float] = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    lines = []
    for name, now in _ratios.items():
        before = committed.get(name)
        if before is None:
            lines.append(f"{name}: {now:.2f} (not committed yet)")
        elif abs(now - before) > NOTABLE * before:
            lines.append(f"{name}: {now:.2f}, committed {before:.2f}")
    return lines


def write() -> None:
    """Write the ratios of this run to the file that is committed; those of sections that did not run stay."""
    committed: dict[str, float] = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    COMMITTED.write_text(json.dumps(committed | _ratios, indent=2, sort_keys=True) + "\n")
