"""The adapter to jsonrpcserver, which looks up and calls the methods and makes the responses.

Its `dispatch` makes a task for each call, and checks the arguments of each with `inspect`. These are the steps of
it that do the work; together they take some microseconds. They are not documented: pyproject.toml pins the
version 5.0.9, and tests/unit/server/test_library.py holds what is used of it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jsonrpcserver import Error, Result, Success
from jsonrpcserver.dispatcher import call, get_method, to_response
from jsonrpcserver.request import Request
from jsonrpcserver.response import to_serializable_one

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
