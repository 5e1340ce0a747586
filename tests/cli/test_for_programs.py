"""What a program reads: an error as JSON, and the id of each job in what it gets."""

import json
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.cli.conftest import Jw


def last(text: str) -> Any:
    return json.loads(text.splitlines()[-1])


def test_an_error_of_the_agent_as_json(jw: "Jw") -> None:
    """The last line of stderr, as in the answer of the agent; stdout has data only."""
    for arguments in (["status", "no-such"], ["logs", "no-such"], ["stop", "no-such"], ["wait", "no-such"]):
        done = jw(*arguments, "--json")
        assert done.returncode in (3, 125)
        error = last(done.stderr)["error"]
        assert (error["code"], error["data"]["reason"]) == (40401, "job_not_found"), done
        assert (error["message"], error["data"]["hint"]) == ("there is no job 'no-such'", "jw ps -a")
        assert done.stdout == ""


def test_other_errors_as_json(jw: "Jw") -> None:
    done = jw("run", "--json", "--", "/no/such/program")
    error = last(done.stderr)["error"]
    assert (done.returncode, error["code"], error["data"]["step"], error["data"]["errno"]) == (127, 42202, "exec", 2)
    assert jw.call("job.status", id=error["data"]["job"])["state"] == "exited"
    done = jw("ps", "--json", JW_ADDRESS="wss://localhost:1/rpc")
    error = last(done.stderr)["error"]
    assert (done.returncode, error["code"], "cannot be reached" in error["message"]) == (6, None, True)
    for arguments in (["ps", "--json", "--nonsense"], ["--context", "no-such", "ps", "--json"], ["status", "--json"]):
        done = jw(*arguments)
        assert (done.returncode, last(done.stderr)["error"]["code"]) == (2, None), done
    assert jw("run", "--nonsense", "echo", "--json").stdout == "", "it belongs to the command"


def test_the_id_of_each_job(jw: "Jw") -> None:
    """Of several, in any order: a result and an error both have the job."""
    job = jw.out("run", "-d", "--", "sleep", "600")
    assert last(jw.out("kill", "-s", "URG", "--json", job)) == {"id": job, "delivered": 1}
    running = jw("rm", "--json", job)
    assert (last(running.stderr)["id"], last(running.stderr)["error"]["code"]) == (job, 40901)
    done = jw("rm", "-f", "--json", job, "no-such")
    assert json.loads(done.stdout) == {"id": job, "deleted": True}
    assert last(done.stderr)["id"] == "no-such"


def test_connections_that_fail_have_a_hint(jw: "Jw") -> None:
    """No agent at the port, and one that ends in this moment: what to do differs. No number of an error is shown."""

    def reset(listener: socket.socket) -> None:
        with listener, listener.accept()[0] as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    listener = socket.create_server(("127.0.0.1", 0))
    address = f"wss://127.0.0.1:{listener.getsockname()[1]}/rpc"
    thread = threading.Thread(target=reset, args=[listener])
    thread.start()
    cut = jw("ps", JW_ADDRESS=address)
    thread.join()
    words = "cannot be reached: Connection reset by peer\nhint: the agent ended"
    assert (cut.returncode, words in cut.stderr) == (6, True), cut.stderr
    refused = jw("ps", JW_ADDRESS=address)
    assert (refused.returncode, "Connection refused\nhint: does an agent run" in refused.stderr) == (6, True)
