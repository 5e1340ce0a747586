"""A job runs: from the client over TLS to its exit code, with its bytes on the way."""

from jobworker.client import Client
from jobworker.model import JobSpec, Reason, State


async def test_a_job_is_followed_to_its_exit_code(client: Client) -> None:
    """Every byte of both streams arrives, then the code."""
    run = await client.run(JobSpec(shell="echo out; echo err >&2; exit 3"))
    said = {"stdout": b"", "stderr": b""}
    async for chunk in run:
        said[chunk.stream] += chunk.data
    assert said == {"stdout": b"out\n", "stderr": b"err\n"}
    assert run.end is not None
    assert run.end.state == State.EXITED
    assert run.end.exit is not None
    assert (run.end.exit.code, run.end.exit.signal, run.end.exit.reason) == (3, None, Reason.FINISHED)
