"""Texts that are no request, or none that anybody should send: said before the login and after it."""

import json
from collections.abc import Iterator
from typing import Any

LARGE = 500_000  # bytes
FIELDS = (
    "id", "spec", "key", "encoding", "stop", "signal", "target", "timeout", "idle_timeout", "timeout_policies",
    "labels", "force", "states", "owner", "limit", "cursor", "streams", "offset", "tail", "since", "until", "follow",
    "arrivals", "max_bytes", "subscription", "from", "token", "username", "password", "name", "roles", "expires_in",
    "data", "jobs",
)  # fmt: skip
SPEC_FIELDS = (
    "argv", "shell", "name", "env", "cwd", "user", "group", "umask", "nice", "rlimits", "limits", "stdin", "tty",
    "timeout", "idle_timeout", "timeout_policies", "stop", "log", "leftovers", "labels", "pid_namespace",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**4000, 0.5, -0.0, 1e308, "", "x", "\0",
    "../..", "%s%n{0}", "'; DROP TABLE jobs; --", "\u202e\ufeff", "\U0001f600" * 1000, "9" * 5000, "9" * 400 + "s",
    "1e9s", "SIGKILL", "9999-12-31T23:59:59+23:59", "0001-01-01T00:00:00-23:59", "all", [], [[]], [None], [""],
    ["\0"], [1, "a", {}], ["x"] * 2000, {}, {"": ""}, {"a": None}, {"\0": "\0"}, {"limit": []}, {"limit": 10**400},
    {"policy": "total", "options": {"limit": {}}}, [{"policy": "total", "options": {"limit": 10**400}}],
    [{"policy": "deadline", "options": {"at": "0001-01-01T00:00:00+23:59"}}],
    [{"policy": "idle", "options": {"x": []}}],
    [{"policy": "cpu", "options": {"limit": "9" * 400 + "d"}}], {"strategy": "command", "options": {"argv": [[]]}},
    {"strategy": "ladder", "options": {"steps": [{"signal": {}, "grace": []}]}}, {"signal": "\0"}, {"grace": -1},
    {"memory": 10**400}, {"memory": "9" * 20 + "TiB"}, {"pids": 10**400}, {"cpus": 1e308}, {"max_bytes": "-1"},
    {"keep": "\0"}, {str(n): "x" for n in range(1200)}, [str(n) for n in range(40_000)],
)  # fmt: skip


def request(method: str, params: Any = None, id_: Any = 1, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": {} if params is None else params} | more


def garbage() -> Iterator[tuple[str, bytes]]:
    """Yield names and messages each of which is to be answered with an error, or by closing the connection."""
    ping = json.dumps(request("agent.ping"))
    for name, text in {
        "nothing": "",
        "spaces": " " * LARGE,
        "a NUL": "\0",
        "no JSON": "nonsense " * 1000,
        "a value": "5",
        "an empty batch": "[]",
        "NaN as id": ping.replace("1,", "NaN,", 1),
        "Infinity as id": ping.replace("1,", "-Infinity,", 1),
        "NaN in params": json.dumps(request("job.list", {"limit": float("nan")})),
        "1e999 in params": ping.replace("{}", '{"limit": 1e999}'),
        "a lone surrogate": ping.replace("1,", '"\\ud800",', 1),
        "a lone surrogate as key": ping.replace("{}", '{"\\udfff": 1}'),
        "two values": ping + ping,
        "a comment": ping + " // yes",
        "a byte order mark": "\ufeff" + ping,
        "an array of 100,000 arrays in each other": "[" * 100_000 + "]" * 100_000,
        "an object of 100,000 objects in each other": '{"a":' * 100_000 + "1" + "}" * 100_000,
        "100,000 open brackets": "[" * 100_000,
        "34 levels": ping.replace("{}", '{"labels": ' + "[" * 32 + "]" * 32 + "}"),
        "an integer of 5,000 digits as id": ping.replace("1,", "1" * 5000 + ",", 1),
        "an integer of 5,000 digits in params": ping.replace("{}", '{"limit": ' + "1" * 5000 + "}"),
        "an integer of 500,000 digits": "1" * LARGE,
        "a fraction of 500,000 digits": "0." + "1" * LARGE,
        "an exponent of 500,000 digits": "1e" + "1" * LARGE,
        "a duplicate version": ping.replace('"id"', '"jsonrpc": "1.0", "id"'),
        "100,000 duplicate keys": "{" + '"a":1,' * 100_000 + '"a":1}',
        "a method of 500 kB": json.dumps(request("x" * LARGE)),
        "an unknown param of 500 kB": json.dumps(request("agent.ping", {"x" * LARGE: 1})),
        "an unknown member of 500 kB": json.dumps(request("no.such", x="y" * LARGE)),
        "a batch of 500 kB of numbers": json.dumps([1] * (LARGE // 3)),
        "a batch of 500 kB of objects": "[" + "{}," * (LARGE // 3) + "{}]",
        "a batch of 500 kB of arrays": "[" + "[]," * (LARGE // 3) + "[]]",
        "a batch of 1 MB of arrays": "[" + "[]," * 345_000 + "[]]",
        "1 MB of arrays in params": ping.replace("{}", '{"labels": [' + "[]," * 345_000 + "[]]}"),
        "1 MB of objects in params": ping.replace("{}", '{"labels": [' + '{"":{}},' * 120_000 + "{}]}"),
        "1 MB of keys in params": ping.replace("{}", "{" + ",".join(f'"{n:x}":0' for n in range(90_000)) + "}"),
        "a batch of 500 kB of strings": json.dumps(["\U0001f600"] * (LARGE // 14)),
        "a batch of fifty with 10 kB of junk each": json.dumps([{"x": ["y" * 10_000]}] * 50),
        "a batch of 51": json.dumps([request("agent.ping")] * 51),
        "1 MB of escapes": '"' + "\\u0041" * 170_000 + '"',
    }.items():
        yield name, text.encode()
    yield "half a character", b'{"jsonrpc": "2.0", "id": "\xc3'
    yield "a surrogate in UTF-8", b'"\xed\xa0\x80"'
    yield "an overlong NUL", b'"\xc0\x80"'
    yield "Latin-1", '"é"'.encode("latin-1")
    yield "UTF-16", json.dumps(request("agent.ping")).encode("utf-16")
    yield "1 MB of 0xff", b"\xff" * 1_000_000


def odd_params(method: str, job: str) -> Iterator[dict[str, Any]]:
    """Yield params of every wrong type, alone and beside the id of a job; a few of them are right."""
    yield from ({field: value} for field in FIELDS for value in VALUES)
    yield from ({"id": job, field: value} for field in FIELDS[1:] for value in VALUES)
    if method in ("job.create", "job.run"):
        yield from ({"spec": {"argv": ["true"], field: value}} for field in SPEC_FIELDS for value in VALUES)
