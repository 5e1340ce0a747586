"""Print what the cgroup of this process is like, as one line of JSON."""

import json
from pathlib import Path

path = Path("/sys/fs/cgroup" + Path("/proc/self/cgroup").read_text().strip().removeprefix("0::"))
print(
    json.dumps(
        {
            "path": str(path),
            "type": (path / "cgroup.type").read_text().strip(),
            "subtree_control": (path / "cgroup.subtree_control").read_text().split(),
            "children": sorted(child.name for child in path.iterdir() if child.is_dir()),
        }
    )
)
