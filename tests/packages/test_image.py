"""The image of a container: it is built, and runs a job for a caller outside, as a plain user, read-only."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.packages.images import ROOT, Builder, container, lacking
from tests.support.waiting import DEADLINE

pytestmark = pytest.mark.slow
LARGEST = 90 << 20  # bytes that the image may add to its base


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    if reason := lacking():
        pytest.skip(f"no image: {reason}")
    subprocess.run(["make", "--no-print-directory", "-C", str(ROOT), "dist"], check=True, capture_output=True)
    made = Builder(tmp_path_factory.mktemp("builder"))
    try:
        made.build()
        yield made
    finally:
        made.run("rm", "--all")
        made.run("rmi", "--all", "--force")


def test_a_job_in_a_container_of_the_image(builder: Builder, tmp_path: Path) -> None:
    settings, image = builder.settings(), builder.root()
    assert settings["User"] == "10000:10000"
    assert list(settings["Volumes"]) == ["/data"]
    assert (image / "data").stat().st_uid == 10000
    files = [path for path in (image / "opt/jobworker").rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) < LARGEST
    made = container(tmp_path, image, settings)
    try:
        made.start()
        made.listening()
        kind, *check = settings["Healthcheck"]["Test"]
        assert kind == "CMD"
        health = made.exec(*check)
        assert health.returncode == 0, health.stdout + health.stderr

        token = made.exec("jw", "token", "create", "outside", "--role", "admin").stdout.strip()
        address = json.loads(made.exec("jw", "agent", "info", "--json").stdout)["address"]
        ca = tmp_path / "state/jobworker/tls/ca.pem"
        env = os.environ | {"JW_ADDRESS": address, "JW_CA": str(ca), "JW_TOKEN": token}
        jw = [sys.executable, "-m", "jobworker_cli", "run", "-w", "/", "--", "sh", "-c", "id -u; ! touch /new"]
        done = subprocess.run(jw, env=env, capture_output=True, text=True, check=False, timeout=DEADLINE)
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, "10000"), done.stderr
        assert "Read-only" in done.stderr

        made.exec("sh", "-c", "sleep 0.1 &")  # left to the first process, which reaps it
        made.until(lambda: not made.commands("sleep 0.1") and "Z" not in made.states(), "no zombie is left")
        assert made.end() == 0
    finally:
        made.clean()
