"""The adapter to jsonrpcserver, which looks up and calls the methods and makes the responses.

Its `dispatch` makes a task for each call, and checks the arguments of each with `inspect`. These are the steps of
it that do the work; together they take some microseconds. They are not documented: pyproject.toml pins the
version 5.0.9, and tests/unit/server/test_library.py holds what is used of it.

The package itself also imports jsonschema and an HTTP server, a third of what the agent imports at its start. So its
modules are imported without it; if a plugin imports jsonrpcserver, it gets the whole package.
"""

import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec, module_from_spec
from typing import Any

_package = find_spec("jsonrpcserver")
assert _package is not None
_bare = sys.modules.setdefault(_package.name, module_from_spec(_package))  # its __init__.py is not executed

from jsonrpcserver.dispatcher import call, get_method, to_response  # noqa: E402
from jsonrpcserver.request import Request  # noqa: E402
from jsonrpcserver.response import to_serializable_one  # noqa: E402
from jsonrpcserver.result import Error, Result, Success  # noqa: E402

if not hasattr(_bare, "dispatch"):
    del sys.modules[_package.name]

__all__ = ["Error", "Request", "Result", "Success", "called", "request", "response"]


def request(method: str, params: Any, id_: Any) -> Request:
    """Return a request whose method gets the params as one argument."""
    return Request(method, [params], id_)


def called(methods: Mapping[str, Callable[..., Result]], request: Request, context: Any) -> Result:
    """Call the method of a request, which must be one of these, as `method(context, params)`."""
    return call(request, context, get_method(methods, request.method)._value)  # type: ignore[arg-type]


def response(request: Request, result: Result) -> dict[str, Any]:
    """Return the response to a request, to be encoded."""
    answer: dict[str, Any] = to_serializable_one(to_response(request, result))  # type: ignore[assignment]
    return answer
