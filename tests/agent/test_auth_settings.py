"""Auth providers with settings that cannot be used: the start is refused with field, value and reason."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.authority import Authority

MTLS = "[plugins]\nenabled = ['token', 'mtls', 'graceful']\n[plugins.mtls]\n"


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
def test_settings_of_mtls(refused: Callable[..., str], text: str, words: list[str]) -> None:
    said = refused(MTLS + text)
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
