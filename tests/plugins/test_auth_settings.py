"""Auth providers with settings that cannot be used: the start is refused with field, value and reason."""

import importlib
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.support.authority import Authority

from jobworker import config
from jobworker.testing import load

MTLS = "[plugins]\nenabled = ['token', 'mtls', 'graceful']\n[plugins.mtls]\n"

JWT = "[plugins]\nenabled = ['token', 'jwt', 'graceful']\n"
GOOD = {
    "issuer": "'https://issuer.example'",
    "audience": "'jobworker'",
    "algorithms": "['RS256']",
    "jwks": "'https://issuer.example/jwks'",
}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name_from = 'surname'", ["name_from", "'surname'"]),
        ("names_from = 'cn'", ["names_from", "unknown"]),
        ("roles = ['writer']", ["roles", "expected object"]),
        ("roles = {alice = 'writer'}", ["roles", "array"]),
        ("roles = {alice = [1]}", ["roles", "str"]),
        ("roles_from = 'cn'", ["roles_from", "'cn'"]),
    ],
)
def test_settings_of_mtls(unfit: Callable[[str], str], text: str, words: list[str]) -> None:
    said = unfit(MTLS + text)
    for word in ["plugin 'mtls' (jobworker ", "[plugins.mtls]", *words]:
        assert word in said


def test_a_client_ca_that_is_none(refused: Callable[..., str], tmp_path: Path) -> None:
    """The start is refused for what is missing, no PEM, or no CA."""
    place = tmp_path / "client_ca.pem"
    config = f"[server]\nport = 0\nclient_ca = '{place}'\n"
    assert f"server.client_ca: {place}: " in refused(config)
    place.write_text("no PEM")
    assert f"server.client_ca: {place}: " in refused(config)
    place.write_bytes(Authority(tmp_path / "authority").issue("alice").cert.read_bytes())
    assert f"server.client_ca: {place}: holds no CA" in refused(config)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"algorithms": None}, ["issuers[0].algorithms", "missing"]),
        ({"algorithms": "[]"}, ["issuers[0].algorithms", "[]", "expected some of RS256"]),
        ({"algorithms": "['RS256', 'HS256']"}, ["issuers[0].algorithms", "HS256", "expected some of RS256"]),
        ({"algorithms": "['none']"}, ["issuers[0].algorithms", "none", "expected some of RS256"]),
        ({"algorithms": "'RS256'"}, ["issuers[0].algorithms", "expected array"]),
        ({"issuer": None}, ["issuers[0].issuer", "missing"]),
        ({"issuer": "''"}, ["issuers[0].issuer", "expected a text"]),
        ({"audience": None}, ["issuers[0].audience", "missing"]),
        ({"audience": "[]"}, ["issuers[0].audience", "[]"]),
        ({"audience": "['x', '']"}, ["issuers[0].audience", "''"]),
        ({"jwks": None}, ["issuers[0].jwks", "missing"]),
        ({"jwks": "'http://issuer.example/jwks'"}, ["issuers[0].jwks", "http://issuer", "expected https://"]),
        ({"jwks": "'http://127.0.0.1.example/jwks'"}, ["issuers[0].jwks", "expected https://"]),
        ({"jwks": "'https:///jwks'"}, ["issuers[0].jwks", "expected https://"]),
        ({"jwks": "'file:///etc/passwd'"}, ["issuers[0].jwks", "expected https://"]),
        ({"jwks": "'jwks.json'"}, ["issuers[0].jwks", "'jwks.json'", "expected https://"]),
        ({"jwks": "'http://[x'"}, ["issuers[0].jwks"]),
        ({"jwks": "'/no/such/file'"}, ["issuers[0].jwks", "/no/such/file", "No such file"]),
        ({"jwks": "'/dev/null'"}, ["issuers[0].jwks", "/dev/null", "not a JWKS"]),
        ({"jwks_max_age": "0"}, ["issuers[0].jwks_max_age", "0", "more than 0"]),
        ({"stale": "'1 moon'"}, ["issuers[0].stale", "'1 moon'", "expected seconds"]),
        ({"leeway": "'6m'"}, ["issuers[0].leeway", "'6m'", "at most 300"]),
        ({"roles": "{ops = 'admin'}"}, ["issuers[0].roles", "array"]),
        ({"rules": "{}"}, ["issuers[0].rules", "unknown"]),
    ],
    ids=str,
)
def test_settings_of_jwt(unfit: Callable[[str], str], changed: dict[str, str | None], words: list[str]) -> None:
    lines = [f"{name} = {value}" for name, value in (GOOD | changed).items() if value is not None]
    said = unfit(JWT + "[[plugins.jwt.issuers]]\n" + "\n".join(lines))
    for word in ["plugin 'jwt' (jobworker ", "[plugins.jwt]", *words]:
        assert word in said


def test_jwt_needs_an_issuer(refused: Callable[..., str]) -> None:
    """Without any the plugin is no use; twice the same one is a mistake."""
    assert "issuers: missing" in refused(JWT)
    assert "expected one or more" in refused(JWT + "[plugins.jwt]\nissuers = []")
    one = "[[plugins.jwt.issuers]]\n" + "\n".join(f"{name} = {value}" for name, value in GOOD.items()) + "\n"
    assert "issuers[1].issuer: 'https://issuer.example' occurs twice" in refused(JWT + one + one)


def test_jwt_without_its_library(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyJWT is an extra: without it, the error of the enabled plugin names the package to install."""
    (tmp_path / "jwt.py").write_text("raise ModuleNotFoundError(\"No module named 'jwt'\")")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said = refused(JWT)
    assert "plugin 'jwt' (jobworker " in said
    assert "No module named 'jwt'" in said
    assert "hint: pip install 'jobworker[jwt]'" in said


@pytest.mark.parametrize("name", ["mtls", "jwt"])
def test_the_examples_in_the_documentation(name: str) -> None:
    """The page about other credentials shows configurations that are accepted, with the default plugins."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "other-credentials.md").read_text()
    (shown,) = (block for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if f"plugins.{name}" in block)
    given = msgspec.convert(tomllib.loads(shown), config.Config)
    assert set(given.enabled_plugins) == {*config.BUILT_IN, name}
    assert name in given.auth.providers
    plugin = importlib.import_module(f"jobworker_plugins.{name}")
    assert list(load(plugin, given.plugins[name]).auth_providers) == [name]
