"""Write the software bill of materials of the agent as CycloneDX JSON: ``python packaging/tools/sbom.py > FILE``.

What is in it is packaging/requirements.txt; licences and dependencies come from the metadata of this environment.
With SOURCE_DATE_EPOCH, the seconds of the commit, the same commit gives the same bytes.
"""

import json
import os
import re
import sys
import tomllib
import uuid
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
EXTRAS = ("jwt", "regex")  # that the lock has, see its head
PIN = re.compile(r"^([\w.-]+)==(\S+)((?:.*\\\n)+.*)", re.MULTILINE)  # name, version, hashes
LONGEST_NAME = 60  # characters; some put the whole text of their licence into the field for its name


def licences(name: str) -> list[dict[str, Any]]:
    """Return the licence as its authors declare it: as an SPDX expression, else by name."""
    try:
        known = metadata(name)
    except PackageNotFoundError:  # of another platform
        return []
    if "License-Expression" in known:
        return [{"expression": known["License-Expression"]}]
    classifiers = known.get_all("Classifier") or []
    named = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License ::")]
    declared = known["License"].strip() if "License" in known else ""
    if not named and declared and len(declared) <= LONGEST_NAME:
        named = [declared]
    return [{"license": {"name": each}} for each in named]


def needed(name: str, extras: set[str], lock: dict[str, str]) -> set[tuple[str, str]]:
    """Return what a distribution with some of its extras needs here, with an extra of that ("" for none)."""
    try:
        lines = requires(name) or []
    except PackageNotFoundError:
        return set()
    found: set[tuple[str, str]] = set()
    for one in map(Requirement, lines):
        applies = one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras | {""})
        if applies and (inner := canonicalize_name(one.name)) in lock:
            found |= {(inner, extra) for extra in one.extras or {""}}
    return found


def graph(first: set[tuple[str, str]], lock: dict[str, str]) -> dict[str, set[str]]:
    """Return for each distribution which others it needs, beginning with those that jobworker needs."""
    extras: dict[str, set[str]] = {}
    edges: dict[str, set[str]] = {name: set() for name in lock}
    wanted = [*first]
    while wanted:
        name, extra = wanted.pop()
        if extra in extras.setdefault(name, set()):
            continue
        extras[name].add(extra)
        found = needed(name, extras[name], lock)
        edges[name] |= {inner for inner, _ in found}
        wanted += found
    return edges


def reference(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


def bill(lock_text: str, project: dict[str, Any]) -> dict[str, Any]:
    """Return the bill of a lock, for the `project` of pyproject.toml."""
    pins = {canonicalize_name(name): (version, rest) for name, version, rest in PIN.findall(lock_text)}
    lock: dict[str, str] = {name: version for name, (version, _) in pins.items()}
    own = {"type": "application", "name": project["name"], "version": project["version"]}
    own |= {"bom-ref": "jobworker", "description": project["description"]}
    own["licenses"] = [{"expression": project["license"]}]
    components = [
        {
            "type": "library",
            "bom-ref": reference(name, version),
            "name": name,
            "version": version,
            "purl": reference(name, version),
            "licenses": licences(name),
            # Of every file of this version that pip may choose: sdist and wheels.
            "hashes": [{"alg": "SHA-256", "content": each} for each in re.findall(r"sha256:([0-9a-f]{64})", rest)],
        }
        for name, (version, rest) in sorted(pins.items())
    ]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(one for extra in EXTRAS for one in extras[extra])]
    direct = [Requirement(line) for line in lines]
    first: set[tuple[str, str]] = {
        (canonicalize_name(one.name), extra) for one in direct for extra in one.extras or {""}
    }
    edges = {"jobworker": {name for name, _ in first}} | graph(first, lock)
    names = {"jobworker": "jobworker"} | {name: reference(name, version) for name, version in lock.items()}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, own['version'] + lock_text)}",
        "version": 1,
        "metadata": {"component": own} | written(),
        "components": components,
        "dependencies": [
            {"ref": names[name], "dependsOn": sorted(names[inner] for inner in edges[name])} for name in sorted(edges)
        ],
    }


def written() -> dict[str, str]:
    """Return the time of the commit; without one the bill has none, so that it is the same each time."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return {"timestamp": datetime.fromtimestamp(int(epoch), UTC).isoformat()} if epoch else {}


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = bill((ROOT / "packaging" / "requirements.txt").read_text(), project)
    json.dump(found, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
