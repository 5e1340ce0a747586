"""The address of an agent: what is none is refused by name, and nothing secret in it is shown."""

import pytest

from jobworker.client.endpoint import normal_address


@pytest.mark.parametrize(
    "address",
    [
        "wss://[::1",
        "wss://127.0.0.1:99999/rpc",
        "wss://host:0/rpc",
        "wss:///rpc",
        "https://host",
        "host",
        "wss://a b",
    ],
)
def test_what_is_no_address(address: str) -> None:
    """The error of a library about a URL would name neither the setting nor what was expected."""
    with pytest.raises(ValueError, match=r"^address: .* expected wss://HOST:PORT/rpc"):
        normal_address(address)


@pytest.mark.parametrize(
    "address", ["wss://ops:SECRET@host/rpc", "wss://host/rpc?token=SECRET", "wss://host/#SECRET"]
)
def test_a_secret_in_an_address(address: str) -> None:
    """As other tools have them: it is refused and not shown."""
    with pytest.raises(ValueError, match="a token beside it") as refused:
        normal_address(address)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    "address", ["wss://[::1]:7443/rpc", "wss://host/rpc", "wss://host:7443", "unix:///run/x.sock"]
)
def test_what_is_an_address(address: str) -> None:
    assert normal_address(f" {address}\r\n") == address
