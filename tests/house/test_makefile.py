"""make: one virtual environment for each Python."""

import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def make(*arguments: str) -> str:
    """Return what make prints."""
    command = ["make", "--no-print-directory", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_another_python_has_an_environment_of_its_own() -> None:
    """With PYTHON= nothing of .venv is used, also when .venv is there; and the version is in its name."""
    done = make("--always-make", "--dry-run", "test", f"PYTHON={sys.executable}")
    folder = f".venv-{platform.python_version()}"
    assert f"{sys.executable} -m venv {folder}\n" in done
    assert f"{folder}/bin/python -m pytest" in done
    assert ".venv/" not in done.replace(sys.executable, "")


def test_a_python_that_is_not_there_is_named() -> None:
    """Its tests are skipped, which is no failure."""
    assert "test-pythons: python3.99 is not there" in make("test-pythons", "PYTHONS=python3.99")
