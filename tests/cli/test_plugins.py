"""`jw plugins`: what there is, whether one would do, and a new one that does."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.plugin_site import install_plugin

from jobworker import config
from jobworker.paths import Home
from jobworker_cli import skeleton

if TYPE_CHECKING:
    from tests.cli.conftest import Jw
    from tests.conftest import RunningAgent

POLITE = """
from jobworker.interfaces import hookimpl
class Polite:
    name = "polite"
    def check(self, options): pass
    async def stop(self, job, options): await job.signal("SIGINT")
@hookimpl
def register_stop_strategies(context): return [Polite()]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which distributions are installed, for `jw` and its agent."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.fixture
def own() -> "Jw":
    """A `jw` with a state folder of its own, in which there is nothing yet, nor any agent."""
    from tests.cli.conftest import Jw

    return Jw()


@pytest.fixture
def polite(site: Path) -> None:
    install_plugin(site, "polite", POLITE)


def test_the_list(shared: "RunningAgent", jw: "Jw") -> None:
    """The enabled ones in their order, then what else is installed."""
    plugins = json.loads(jw.out("plugins", "--json"))["plugins"]
    assert [each["name"] for each in plugins if each["enabled"]] == [*config.BUILT_IN]
    assert plugins[0]["registers"] == ["auth_providers:token"]
    assert {"mtls", "jwt"} <= {each["name"] for each in plugins if not each["enabled"]}
    head, token, *rest = jw.out("plugins").splitlines()
    assert head.split() == ["NAME", "PACKAGE", "STATE", "REGISTERS"]
    assert token.split() == ["token", "jobworker", plugins[0]["version"], "enabled", "auth", "provider", "token"]
    assert any(line.startswith("jwt") and "not enabled" in line for line in rest)
    assert jw.out("plugins", "-q").splitlines() == [each["name"] for each in plugins]


@pytest.mark.usefixtures("polite")
def test_check(home: Home, own: "Jw") -> None:
    """What it would register, and how to enable it; nothing is started or changed for it."""
    done = own("plugins", "check", "polite")
    assert done.returncode == 0
    assert "stop strategy polite" in done.stdout
    assert "jobworker-polite 4.5.6" in done.stdout
    assert "jw plugins enable polite" in done.stderr
    said = json.loads(own.out("plugins", "check", "--json", "kill"))
    assert (said["enabled"], said["plugin"]["registers"]) == (True, ["stop_strategies:kill"])
    assert not home.path.exists()


def test_check_of_one_that_would_not_do(site: Path, own: "Jw") -> None:
    """The reason that the agent would give, and its exit code."""
    install_plugin(site, "broken", "raise RuntimeError('at once')")
    done = own("plugins", "check", "broken")
    assert done.returncode == 6
    assert "plugin 'broken' (jobworker-broken 4.5.6): RuntimeError: at once" in done.stderr
    done = own("plugins", "check", "nosuch")
    assert done.returncode == 1
    assert "no plugin 'nosuch' is installed; there are: " in done.stderr


@pytest.mark.usefixtures("polite")
def test_enable_and_disable(home: Home, own: "Jw", tmp_path: Path) -> None:
    """The list changes and nothing else; a file that is new is the agent's own."""
    assert own("plugins", "enable", "polite").returncode == 0
    assert stat.S_IMODE(home.config.stat().st_mode) == 0o600
    assert config.load(home.config).enabled_plugins == [*config.BUILT_IN, "polite"]
    assert own("plugins", "enable", "polite").returncode == 0
    assert own("plugins", "disable", "polite").returncode == 0
    assert config.load(home.config).enabled_plugins == [*config.BUILT_IN]
    assert own("plugins", "disable", "polite").returncode == 1
    mine = tmp_path / "mine.toml"
    mine.write_text(
        '# mine\n[jobs]\ngrace = "3s"  # short\n\n[plugins]\nenabled = ["token", "roles", "graceful"]  # few\n'
    )
    mine.chmod(0o644)
    assert own("plugins", "enable", "polite", "--config", str(mine)).returncode == 0
    text = mine.read_text()
    assert text.startswith('# mine\n[jobs]\ngrace = "3s"  # short\n')
    assert config.load(mine).enabled_plugins == ["token", "roles", "graceful", "polite"]
    assert stat.S_IMODE(mine.stat().st_mode) == 0o644


def test_one_that_would_not_do_is_not_enabled(site: Path, home: Home, own: "Jw") -> None:
    install_plugin(site, "broken", "raise RuntimeError('at once')")
    assert own("plugins", "enable", "broken").returncode == 6
    assert not home.config.exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", skeleton.KINDS)
def test_new(kind: str, site: Path, own: "Jw", tmp_path: Path) -> None:
    """What it writes is a distribution whose tests pass, those with a real agent too."""
    made = Path(own.out("plugins", "new", "my-own", "--kind", kind, "--out", str(tmp_path)))
    assert made == tmp_path / "jobworker-my-own"
    (site / "jobworker_my_own.py").write_bytes((made / "jobworker_my_own.py").read_bytes())
    info = site / "jobworker_my_own-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: jobworker-my-own\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[jobworker]\nmy-own = jobworker_my_own\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(made), str(made)]
    done = subprocess.run(command, cwd=made, env=os.environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    for tool in (
        ["ruff", "check", "--isolated", "--select", "E,F,I,W", "--line-length", "118"],
        ["mypy", "--strict"],
    ):
        found = subprocess.run(
            [sys.executable, "-m", *tool, "jobworker_my_own.py"],
            cwd=made,
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Not a name"], "expected lower-case letters"),
        (["../x"], "expected lower-case letters"),
        (["mine", "--kind", "toaster"], "expected one of auth-provider"),
        (["kill"], "a plugin of this name is installed, by jobworker"),
    ],
)
def test_new_ones_that_cannot_be(words: list[str], said: str, own: "Jw", tmp_path: Path) -> None:
    done = own("plugins", "new", *words, "--out", str(tmp_path))
    assert (done.returncode, said in done.stderr) == (1, True), done
    assert not list(tmp_path.glob("jobworker-*"))


def test_options_of_strategies_and_policies(jw: "Jw") -> None:
    """`run` and `create` carry them: values are JSON, or else text."""
    policy = "deadline at='2030-01-31 12:00:00Z'"
    steps = 'steps=[{"signal": "TERM", "grace": 1}, {"signal": "KILL"}]'
    words = ["--stop-strategy", "ladder", "--stop-option", steps, "--timeout-policy", policy]
    jw.out("create", "--name", "optional", *words, "true")
    spec = jw.job("optional")["spec"]
    options = {"steps": [{"signal": "TERM", "grace": 1}, {"signal": "KILL"}]}
    assert spec["stop"] == {"strategy": "ladder", "options": options}
    assert spec["timeout_policies"] == [{"policy": "deadline", "options": {"at": "2030-01-31 12:00:00Z"}}]
    jw.out("rm", "optional")
    assert jw("create", "--timeout-policy", "'", "true").returncode == 2
    assert jw("create", "--stop-option", "novalue", "true").returncode == 2
    assert jw("create", "--stop-option", "deep=" + "[" * 50_000, "true").returncode == 2


GUARD = """
from jobworker.interfaces import hookimpl
class Guard:
    name = "{name}"
    async def authenticate(self, credentials): return None
    async def grants(self, principal): return None
@hookimpl
def {hook}(context): return [Guard()]
"""


def test_a_plugin_that_is_to_be_asked(site: Path, home: Home, own: "Jw") -> None:
    """Enabled it is asked, a provider last and an authorizer first; disabled, also when it is broken, it is not."""
    install_plugin(site, "gate", GUARD.format(name="doorkeeper", hook="register_auth_providers"))
    install_plugin(site, "judge", GUARD.format(name="judge", hook="register_authorizers"))
    for name in ("gate", "judge"):
        done = own("plugins", "enable", name)
        assert done.returncode == 0, done
    auth = config.load(home.config).auth
    assert (auth.providers, auth.authorizers) == (["token", "doorkeeper"], ["judge", "roles"])
    assert "never asked" not in own("plugins", "check", "gate").stderr
    assert own("plugins", "disable", "gate").returncode == 0
    for folder in site.glob("jobworker_judge-*"):
        shutil.rmtree(folder)
    install_plugin(site, "judge", "raise RuntimeError('at once')")
    assert own("plugins", "disable", "judge").returncode == 0
    auth = config.load(home.config).auth
    assert (auth.providers, auth.authorizers) == (["token"], ["roles"])


def test_a_change_with_which_no_agent_starts(home: Home, own: "Jw") -> None:
    """mtls needs a CA, and some provider must be left: the file stays as it was, and the error names the key."""
    done = own("plugins", "enable", "mtls")
    assert (done.returncode, home.config.exists()) == (6, False)
    assert "server.client_ca" in done.stderr
    done = own("plugins", "disable", "token")
    assert (done.returncode, home.config.exists()) == (6, False)
    assert "auth.providers" in done.stderr


def test_a_provider_that_is_never_asked(own: "Jw") -> None:
    """`check` names the key that does not have it."""
    checked = own("plugins", "check", "mtls")
    assert "'mtls' of the plugin 'mtls' is never asked: auth.providers does not name it" in checked.stderr
