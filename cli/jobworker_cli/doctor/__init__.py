"""Find what is wrong with this host, the agent and the context, and what to do about it."""

import sys
from collections.abc import Iterator, Sequence

from jobworker import __version__
from jobworker.client.endpoint import UNIX, Endpoint
from jobworker.client.local import agent_pid
from jobworker.errors import JobworkerError
from jobworker_cli import LOCAL_CONTEXT
from jobworker_cli.declare import UsageError
from jobworker_cli.doctor.finding import OK, WRONG, Finding, certificate, of_error
from jobworker_cli.endpoint import Choice, home


def examine(choice: Choice) -> Iterator[Finding]:
    """Yield what was found, in the order in which a command of `jw` needs it."""
    yield Finding("jw", OK, f"{__version__}, Python {sys.version.split()[0]}")
    try:
        endpoint = choice.endpoint()
    except (JobworkerError, UsageError) as error:
        yield of_error("context", error, "jw context ls")
        return
    yield from _context(choice, endpoint)
    if endpoint.address is None:
        yield from _local(choice)
    else:
        yield from _agent(choice, endpoint)


def command(choice: Choice) -> str:
    """Return how `jw` is called for this agent."""
    return f"jw -c {choice.context}" if choice.context else "jw"


def _context(choice: Choice, endpoint: Endpoint) -> Iterator[Finding]:
    """Check how the agent is named and verified, before anything is sent to it."""
    if endpoint.address is None:
        yield Finding("context", OK, f"{LOCAL_CONTEXT}: the agent of this host, on {home().path}")
    elif endpoint.address.startswith(UNIX):
        yield Finding("context", OK, endpoint.address)
    else:
        trust = endpoint.pin or (f"the CA in {endpoint.ca}" if endpoint.ca else "the CAs of the system")
        named = f"{choice.context}: " if choice.context else ""
        yield Finding("context", OK, f"{named}{endpoint.address}, verified by {trust}")
    if endpoint.insecure:
        hint = "leave out --insecure and JW_INSECURE; give --ca or --pin"
        yield Finding(
            "context", WRONG, "the certificate of the agent is not verified: any server gets the token", hint
        )
    if endpoint.cert is not None:
        yield from _client_certificate(endpoint)


def _client_certificate(endpoint: Endpoint) -> Iterator[Finding]:
    from jobworker.tls import certificates  # slow to import, and seldom needed

    assert endpoint.cert is not None
    try:
        described = certificates.describe(certificates.load(endpoint.cert)[0])
    except (JobworkerError, OSError, ValueError) as error:
        yield of_error("credentials", error, f"jw cert show {endpoint.cert}")
        return
    name = f"the client certificate {described['subject']}"
    yield certificate("credentials", name, int(described["days_left"]), "jw cert issue, on the host of its CA")


def _local(choice: Choice) -> Iterator[Finding]:
    """Check the agent of this host; if none runs, whether one would start."""
    from jobworker_cli.doctor import host

    try:
        pid = agent_pid(home()) if home().path.exists() else None
    except (JobworkerError, OSError) as error:
        yield of_error("state folder", error)
        return
    folder = host.state_folder(home())
    yield folder
    if folder.state == WRONG:
        return
    if pid is None:
        yield from host.without_agent(home())
    else:
        yield from _agent(choice, Endpoint())


def _agent(choice: Choice, endpoint: Endpoint) -> Iterator[Finding]:
    """Connect to the agent and check what it reports."""
    from jobworker_cli.doctor import agent

    try:
        with choice.blocking(start=False) as client:
            yield from agent.examine(client, command(choice), tls=not (endpoint.address or UNIX).startswith(UNIX))
    except (JobworkerError, OSError) as error:
        yield of_error("connection", error, "does an agent listen there, and does a firewall let its port through?")


def count_wrong(findings: Sequence[Finding]) -> int:
    return sum(finding.state == WRONG for finding in findings)
