"""`jw --debug` prints what is sent and received, and nothing that is secret."""

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from jobworker_cli.debug import MAX_SHOWN, shown

if TYPE_CHECKING:
    from tests.cli.conftest import Jw


def messages(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the messages, with their direction; the bytes after a binary frame's JSON are left out."""
    lines = re.findall(r"^jw: (sent|received): (\{.*\})( and \d+ bytes)?$", text, re.MULTILINE)
    return [(direction, json.loads(message)) for direction, message, _ in lines]


def test_messages_of_both_clients(jw: "Jw") -> None:
    """Of one that ends by itself, and of one that follows a job; stdout is as without it."""
    done = jw("--debug", "ps", "--json")
    assert json.loads(done.stdout)["jobs"] is not None
    (sent, request), (received, answer) = messages(done.stderr)
    assert (sent, request["method"], received, answer["id"]) == ("sent", "job.list", "received", request["id"])
    done = jw("run", "--debug", "-e", "PASSWORD=hunter2", "--", "sh", "-c", "echo secret-output")
    assert (done.returncode, done.stdout) == (0, "secret-output\n")
    seen = messages(done.stderr)
    methods = [message.get("method") for direction, message in seen]
    assert {"job.run", "log.end"} <= set(methods), done.stderr
    assert "hunter2" not in done.stderr
    assert '"env":{"PASSWORD":"…"}' in done.stderr
    assert re.search(r'"log.data"|"subscription".* and 14 bytes', done.stderr)
    assert "secret-output\n" not in done.stderr


def test_tokens(jw: "Jw") -> None:
    """Of the command line, of the environment, and such as the agent makes."""
    done = jw("--debug", "token", "create", "debugged", "--role", "reader")
    token = done.stdout.strip()
    assert token
    assert token not in done.stderr
    assert '"token":"…"' in done.stderr
    address = json.loads(jw.out("agent", "info", "--json"))["address"]
    for options, env in ((["--token", token], {}), ([], {"JW_TOKEN": token})):
        done = jw("--debug", "--address", address, "--insecure", *options, "rpc", "auth.whoami", f"x={token}", **env)
        assert "sent: " in done.stderr
        assert token not in done.stderr, done
    jw("token", "revoke", "debugged")


@pytest.mark.parametrize("message", ["{", "[" * 100_000, b"\xff\xfe", b'{"data": 5}\n\x00'])
def test_messages_that_are_none(message: str | bytes) -> None:
    """Of a lying agent: a line of bounded length all the same."""
    assert len(shown(message)) < MAX_SHOWN


def test_what_is_hidden() -> None:
    message = {"params": {"password": "p", "Token": "t", "data": "c2VjcmV0", "spec": {"env": {"A": "v"}}, "id": "x"}}
    expected = {"password": "…", "Token": "…", "data": "8 characters", "spec": {"env": {"A": "…"}}, "id": "x"}
    assert json.loads(shown(json.dumps(message))) == {"params": expected}
    assert json.loads(shown(json.dumps([message]))) == [{"params": expected}]
