"""The software bill of materials: valid CycloneDX of exactly what is locked."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[2]


def made(**env: str) -> str:
    command = [sys.executable, "packaging/tools/sbom.py"]
    clean = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    return subprocess.run(command, cwd=ROOT, env=clean | env, capture_output=True, text=True, check=True).stdout


def test_the_bill_of_materials() -> None:
    """Valid by its schema, with each locked version and its hashes, and each needed by something; the same twice."""
    text = made(SOURCE_DATE_EPOCH="1000000000")
    assert made(SOURCE_DATE_EPOCH="1000000000") == text
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill: dict[str, Any] = json.loads(text)
    assert bill["metadata"]["timestamp"] == "2001-09-09T01:46:40+00:00"
    lock = (ROOT / "packaging/requirements.txt").read_text()
    components = bill["components"]
    assert {(each["name"], each["version"]) for each in components} == set(re.findall(r"(?m)^([\w-]+)==(\S+)", lock))
    hashes = [each["content"] for component in components for each in component["hashes"]]
    assert sorted(hashes) == sorted(re.findall("sha256:([0-9a-f]{64})", lock))
    edges = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    reached, wanted = set(), ["jobworker"]
    while wanted:
        if (ref := wanted.pop()) not in reached:
            reached.add(ref)
            wanted += edges[ref]
    assert reached == {"jobworker", *(each["bom-ref"] for each in components)}
    assert all(each["licenses"] for each in components)


def test_what_the_schema_refuses() -> None:
    """The validator sees what is wrong."""
    bill = json.loads(made())
    assert "timestamp" not in bill["metadata"]
    bill["components"][0]["hashes"][0]["alg"] = "SHA-255"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is not None
