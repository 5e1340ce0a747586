"""The configuration: every key with a default, none unknown, each fault named with what was expected."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobworker import config
from jobworker.errors import StartError

FILE = Path(__file__).parents[2] / "config.toml"


def keys(table: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted names of all keys."""
    found = []
    for name, value in table.items():
        found += keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return found


def test_config_toml_equals_the_defaults() -> None:
    """The file at the root has every key, with its default, and explains each."""
    assert config.load(FILE) == config.Config() == config.load(None)
    text = FILE.read_text()
    assert sorted(keys(tomllib.loads(text))) == sorted(keys(msgspec.to_builtins(config.Config())))
    for line in text.splitlines():
        assert not re.match(r"\w+ = ", line) or "#" in line, f"no explanation: {line}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprot = 1", ["server.prot", "unknown"]),
        ("[sever]\nport = 1", ["sever", "unknown"]),
        ("[server]\nport = '7443'", ["server.port", "'7443'", "expected int"]),
        ("[traces]\nendpoint = 'localhost:4318'", ["traces.endpoint", "localhost:4318", "http://"]),
        ("[traces]\nendpoint = 'http://[x'", ["traces.endpoint", "http://[x", "URL"]),
        ("[server]\nport = 70000", ["server.port", "70000", "65535"]),
        ("[server]\nport = -1", ["server.port", "-1", "65535"]),
        ("[server]\nnames = 'x'", ["server.names", "'x'", "expected array"]),
        ("[server]\norigins = [5]", ["server.origins[0]", "5", "expected str"]),
        ("[server]\norigins = ['https://a.example/']", ["server.origins", "'https://a.example/'", "no path"]),
        ("[server]\norigins = ['a.example']", ["server.origins", "'a.example'", "https://"]),
        ("[server]\norigins = ['*']", ["server.origins", "'*'", "https://"]),
        ("[server]\norigins = ['https://*.example']", ["server.origins", "no wildcard"]),
        ("[server]\norigins = ['https://A.example']", ["server.origins", "'https://A.example'", "lower case"]),
        ("[server]\norigins = ['https://a.example:443']", ["server.origins", "443", "default port"]),
        ("[server]\norigins = ['wss://a.example']", ["server.origins", "'wss://a.example'", "with https://"]),
        ("[server]\norigins = ['https://a.example:65536']", ["server.origins", "65536", "at most 65535"]),
        ("[server]\norigins = ['http://[::1]:x']", ["server.origins", "'http://[::1]:x'"]),
        ("[auth]\nproviders = ['token', 'mtls']", ["auth.providers", "mtls", "server.client_ca"]),
        ("[auth]\nproviders = []", ["auth.providers", "[]", "no one could log in"]),
        ("[auth]\nauthorizers = []", ["auth.authorizers", "[]", "no one could do anything"]),
        ("[server]\ncert = '/x'", ["server.cert", "server.key", "both or neither"]),
        ("[server]\nkey = '/x'", ["server.cert", "server.key", "both or neither"]),
        ("[server]\nproxies = ['10.0.0.0/33']", ["server.proxies", "'10.0.0.0/33'", "10.0.0.0/8"]),
        ("[unix.users]\nann = ['reader']", ["unix.path", "absolute path"]),
        ("[auth]\nproviders = ['unix']", ["auth.providers", "'unix'", "other names"]),
        ("server = 5", ["server", "5", "expected object"]),
        ("[auth]\nlogin_timeout = '5x'", ["auth.login_timeout", "'5x'", "expected seconds"]),
        ("[jobs]\ngrace = -1", ["jobs.grace", "-1", "expected 0 to"]),
        ("[jobs]\ntimeout = ''", ["jobs.timeout", "''", "expected seconds"]),
        ("[jobs]\nstop_limit = 1e99", ["jobs.stop_limit", "1e+99", "expected 0 to"]),
        ("[jobs]\nstop_limit = nan", ["jobs.stop_limit", "nan", "expected 0 to"]),
        ("[jobs]\ntimeout = true", ["jobs.timeout", "True", "expected"]),
        ("[jobs]\nlog_max_bytes = '1GX'", ["jobs.log_max_bytes", "'1GX'", "64MiB"]),
        ("[jobs]\nlog_max_bytes = 1000", ["jobs.log_max_bytes", "1000", "0 (no bound)", "65536"]),
        ("[jobs]\nstop_signal = 'SIGFOO'", ["jobs.stop_signal", "SIGFOO", "expected"]),
        ("[agent]\non_shutdown = 'maybe'", ["agent.on_shutdown", "maybe", 'expected "auto" or "leave" or "stop"']),
        ("[agent]\nlog_level = 'loud'", ["agent.log_level", "loud", '"debug"', '"warning"']),
        ("[events]\nkeep = 0", ["events.keep", "0", "expected 1 or more"]),
        ("[retention]\njobs = -1", ["retention.jobs", "-1", "expected 0 or more"]),
        ("[agent]\nshutdown_limit = 'x'", ["agent.shutdown_limit", "'x'", "expected seconds"]),
        ("[limits]\nconnections = 0", ["limits.connections", "0", "expected 1 or more"]),
        ("[limits]\nrequests_in_flight = -5", ["limits.requests_in_flight", "-5", "expected 1 or more"]),
        ("[limits]\nsubscriptions = 0.5", ["limits.subscriptions", "0.5", "expected int"]),
        ("[jobs]\nuser = 5", ["jobs.user", "5", "expected str"]),
        ("[users]\nalice = ['nobody']", ["users.alice", "token:NAME", "role:NAME"]),
        ("[users]\n'*' = ['nobody', 'root']", ["users.*", "root", "admins"]),
        ("[users]\n'*' = ['0']", ["users.*", "root", "admins"]),
        ("[users]\npool = ['x']", ["users.pool", "['x']", "70000-70999"]),
        ("[users]\npool = 'x'", ["users.pool", "'x'", "70000-70999"]),
        ("[users]\npool = '0-9'", ["users.pool", "'0-9'", "from 1"]),
        ("[users]\npool = '9-8'", ["users.pool", "'9-8'"]),
        ("[users]\npool = '60000-70000'", ["users.pool", "without 65534"]),
        ("[users]\npool = '1-4294967294'", ["users.pool", "4294967293"]),
        ("[users]\npool = '70000-70001'\n[jobs]\nuser = 'x'", ["users.pool", "jobs.user", "one of them"]),
        ("[users]\n'*' = 'nobody'", ["users", "nobody", "expected array"]),
        ("[plugins]\nenabled = 'token'", ["plugins.enabled", "'token'", "expected a list"]),
        ("[plugins]\nenabled = [5]", ["plugins.enabled", "5", "expected a list"]),
        ("[plugins]\ntotal = 5", ["plugins.total", "5", "expected"]),
        ("plugins = []", ["plugins", "[]", "expected object"]),
        ("[server", ["is not TOML"]),
        ("[server]\nport = 1\nport = 2", ["is not TOML"]),
        ("a\x00b", ["is not TOML"]),
    ],
    ids=lambda it: it[:40] if isinstance(it, str) else "",
)
def test_a_fault_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    """The message has the file, the key, the value and what was expected."""
    path = tmp_path / "some.toml"
    path.write_text(text)
    with pytest.raises(StartError) as caught:
        config.load(path)
    for word in [str(path), *words]:
        assert word in caught.value.message


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    """A file that is not UTF-8 is not TOML."""
    path = tmp_path / "some.toml"
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(StartError, match="is not TOML"):
        config.load(path)


@pytest.mark.parametrize("depth", [33, 300, 5000])
@pytest.mark.parametrize(
    "text", [lambda depth: f"[plugins.a]\nb = {'[' * depth}{']' * depth}", lambda depth: f"plugins{'.a' * depth} = 1"]
)
def test_a_deep_file(tmp_path: Path, text: Callable[[int], str], depth: int) -> None:
    """Its depth is bounded, and the bound is named."""
    path = tmp_path / "some.toml"
    path.write_text(text(depth))
    with pytest.raises(StartError, match="nested too deep; expected at most 32 levels"):
        config.load(path)


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    """What cannot be read is named."""
    with pytest.raises(StartError, match=r"cannot be read: Is a directory"):
        config.load(tmp_path)
