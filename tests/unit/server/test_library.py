"""What the agent uses of jsonrpcserver that is not documented: the names, what they take and what they return."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from jsonrpcserver import Error, Success

from jobworker.server import library

ROOT = Path(__file__).parents[3]


def test_the_version_is_pinned() -> None:
    """Another version may have other steps inside."""
    assert f'"jsonrpcserver=={version("jsonrpcserver")}"' in (ROOT / "pyproject.toml").read_text()


def test_a_method_is_called_with_context_and_params() -> None:
    """Once, with both as they are, and its result is the one of the response."""
    calls: list[Any] = []

    def method(*arguments: Any) -> library.Result:
        calls.append(arguments)
        return Success({"a": 1})

    context, params = object(), b"{}"
    asked = library.request("m", params, 7)
    result = library.called({"m": method}, asked, context)
    assert calls == [(context, params)]
    assert library.response(asked, result) == {"jsonrpc": "2.0", "result": {"a": 1}, "id": 7}


def test_an_error_becomes_an_error() -> None:
    asked = library.request("m", b"{}", "x")
    result = library.called({"m": lambda *_: Error(-1, "no", {"field": "a"})}, asked, None)
    error = {"code": -1, "message": "no", "data": {"field": "a"}}
    assert library.response(asked, result) == {"jsonrpc": "2.0", "error": error, "id": "x"}


@pytest.mark.parametrize("result", [None, 5, {"a": 1}])
def test_a_method_that_returns_something_else(result: Any) -> None:
    """It is an internal error, and not an answer."""
    asked = library.request("m", b"{}", 1)
    answer = library.response(asked, library.called({"m": lambda *_: result}, asked, None))
    assert answer["error"]["code"] == -32603
