"""`jw token` and `jw session`: lives that are told, renewals, and ends of connections."""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Jw


def test_a_token_is_printed_alone(jw: "Jw") -> None:
    """Its end is a note on stderr; `never` and --json print none."""
    made = jw("token", "create", "cli-a", "--role", "reader")
    assert made.stdout.startswith("jw1_")
    assert "until" in made.stderr
    assert "jw token renew cli-a" in made.stderr
    again = jw("token", "renew", "cli-a", "--expires-in", "never")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout != made.stdout
    answer = jw("token", "create", "cli-b", "--role", "reader", "--expires-in", "1h", "--json")
    assert answer.stderr == ""
    assert json.loads(answer.stdout)["expires_at"]
    for name in ("cli-a", "cli-b"):
        jw.out("token", "revoke", name)
    unknown = jw("token", "renew", "cli-a")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "cli-a" in unknown.stderr


def test_sessions_are_listed_and_ended(jw: "Jw") -> None:
    """The list marks the connection of the command; an end is by id or by principal, never both."""
    assert "unix:local (this command)" in jw.out("session", "list")
    (first, *_) = jw.out("session", "list", "-q").splitlines()
    assert len(first) == 12
    assert jw("session", "end").returncode == 2
    assert jw("session", "end", first, "--principal", "unix:local").returncode == 2
    unknown = jw("session", "end", "nonsense")
    assert unknown.returncode == 1
    assert "nonsense" in unknown.stderr
    follower = jw.start("events", "--json", "--from", "0")
    follower.wait_for(rb"revision|^", "stdout")
    assert jw.out("session", "end", "--principal", "unix:local").endswith("ended")
