"""The distributions beside ours: built and installed as wheels beside ours, tested there, and used by an agent."""

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.house.test_examples import matches

ROOT = Path(__file__).parents[2]
NAMES = ("htpasswd", "http-stop", "maintenance", "webhook", "slurm")
ENABLED = '"token", "roles", "graceful", "kill", "total", "htpasswd", "http-stop", "maintenance", "webhook", "slurm"'

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has the wheels, what they name, and nothing of this checkout."""
    folder = tmp_path_factory.mktemp("distributions")
    sources = [ROOT, *(ROOT / "plugins" / f"jobworker-{name}" for name in NAMES)]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    for source in sources:
        built = shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns(".*", "build", "dist"))
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder / "wheels"), str(built)], check=True)
    wheels = sorted(map(str, (folder / "wheels").glob("*.whl")))
    assert len(wheels) == len(sources)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, *pip[1:], "install", *wheels, "pytest"], check=True)
    return python.parent


@pytest.fixture
def env(tmp_path: Path, binaries: Path) -> Iterator[dict[str, str]]:
    env = {"PATH": f"{binaries}:{os.defpath}", "JOBWORKER_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    yield env
    subprocess.run([binaries / "jw", "agent", "stop", "--jobs"], env=env, check=True, timeout=60)


@pytest.mark.parametrize("name", NAMES)
def test_its_own_tests(name: str, binaries: Path, tmp_path: Path) -> None:
    """They pass against the wheels."""
    tests = shutil.copytree(ROOT / "plugins" / f"jobworker-{name}" / "tests", tmp_path / "tests")
    command = [str(binaries / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tests)]
    env = {"PATH": f"{binaries}:{os.defpath}", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_of_them_in_one_agent(env: dict[str, str], tmp_path: Path) -> None:
    """Enabled side by side, listed with package and version, and used by name."""
    home = Path(env["JOBWORKER_HOME"])
    home.mkdir(mode=0o700)
    passwords = tmp_path / "htpasswd"
    make = "import bcrypt; print('ann:' + bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode())"
    made = subprocess.run(["python", "-c", make], env=env, capture_output=True, text=True, check=True)
    passwords.write_text(made.stdout)
    passwords.chmod(0o600)
    (home / "config.toml").write_text(
        f'[plugins]\nenabled = [{ENABLED}]\n[auth]\nproviders = ["htpasswd", "token"]\n'
        f'[plugins.htpasswd]\nfile = "{passwords}"\ndefault_roles = ["reader"]\n'
        '[plugins.maintenance]\nbegin = "22:00"\n'
        '[plugins.webhook]\nurl = "http://127.0.0.1:9/"\n'
        f'[plugins.slurm]\nfolder = "{tmp_path}"\n'
    )

    def jw(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["jw", *words], env=env, capture_output=True, text=True, timeout=60, check=False)

    listed = jw("plugins").stdout
    for name in NAMES:
        assert f"jobworker-{name} 1.0" in listed
        assert jw("plugins", "check", name).returncode == 0
    words = ["--timeout-policy", "maintenance begin=22:00", "--stop-strategy", "http"]
    option = ["--stop-option", "url=http://127.0.0.1:9/drain"]
    assert jw("run", *words, *option, "--", "sh", "-c", "exit 7").returncode == 7
    refused = jw("run", *words, "--stop-option", "url=http://example.org/", "true")
    assert (refused.returncode, "expected http:// to one of" in refused.stderr) == (125, True)
    address = jw("agent", "info", "--json").stdout
    login = (
        "import asyncio, json, sys; from jobworker.client import connect\n"
        "async def main():\n"
        "    async with connect(json.loads(sys.argv[1])['address'], username='ann', password='secret',"
        " ca=sys.argv[2]) as client: print((await client.whoami()).id)\n"
        "asyncio.run(main())"
    )
    who = ["python", "-c", login, address, str(home / "tls" / "ca.pem")]
    assert subprocess.run(who, env=env, capture_output=True, text=True, check=True).stdout == "htpasswd:ann\n"


def test_the_plugin_that_is_pasted(env: dict[str, str], tmp_path: Path) -> None:
    """The first plugin of the page works word for word, and prints what the page shows."""
    page = (ROOT / "docs" / "how-to" / "write-a-plugin.md").read_text()

    def first(language: str) -> str:
        return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[0]  # type: ignore[no-any-return]

    (tmp_path / "polite.py").write_text(first("python"))
    (tmp_path / "pyproject.toml").write_text(first("toml"))
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", first("console"), re.MULTILINE)
    assert [command for command, _ in steps][:3] == [
        "pip install .",
        "jw plugins check polite",
        "jw plugins enable polite",
    ]
    for command, expected in steps:
        done = subprocess.run(
            ["bash", "-c", f"exec 2>&1\n{command}"],
            env=env | {"PIP_QUIET": "3"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        assert matches(expected, done.stdout), f"$ {command}\n{done.stdout}"
