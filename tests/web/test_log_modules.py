"""The modules of the log view that need no document: rows, pages, colours, in Node.js."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.waiting import DEADLINE

TESTS = Path(__file__).parent
LOG = TESTS.parents[1] / "agent" / "jobworker" / "web" / "static" / "log"


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed: apt-get install nodejs")
def test_modules(tmp_path: Path) -> None:
    """tests/web/log/modules.test.mjs, beside a copy of the modules that Node.js takes for modules."""
    shutil.copytree(LOG, tmp_path / "log")
    (tmp_path / "log" / "package.json").write_text('{"type": "module"}')
    shutil.copy(TESTS / "log" / "modules.test.mjs", tmp_path)
    shutil.copy(TESTS.parent / "data" / "sanitise.json", tmp_path)
    command = ["node", "--test", "--test-reporter=spec", "modules.test.mjs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stdout
