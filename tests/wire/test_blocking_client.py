"""The blocking client against a real agent: the same answers, errors, bytes and refusals as the other client."""

import hashlib
import inspect
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.server import ServerConnection, serve

from jobworker import errors
from jobworker.client import Client as AsyncClient
from jobworker.client import Endpoint, handshake, wire
from jobworker.client import connect as async_connect
from jobworker.client.blocking import Client, channel, connect
from jobworker.client.blocking import connection as blocking_connection
from jobworker.client.blocking.connection import AnswerLost
from jobworker.client.blocking.inbox import Inbox
from jobworker.client.local import local_endpoint
from jobworker.model import JobSpec, Reason, State, StopSpec

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Gate

DEADLINE = 20.0
LINES = 40_000  # of a log that is read over several connections
WRITER = (
    f"i=0; while [ $i -lt 20 ]; do seq $((i*{LINES // 20}+1)) $(((i+1)*{LINES // 20})); i=$((i+1)); sleep .02; done"
)
WRITTEN = b"".join(b"%d\n" % number for number in range(1, LINES + 1))


@pytest.fixture
def client(shared: "RunningAgent") -> Iterator[Client]:
    with connect(shared.address, token=shared.token, ca=shared.ca) as connected:
        yield connected


def shell(text: str) -> JobSpec:
    return JobSpec(shell=text)


def test_every_method_of_the_other_client() -> None:
    """The same methods with the same parameters, so that a script can move from one client to the other."""

    def methods(cls: type) -> dict[str, list[str]]:
        public = inspect.getmembers(cls, inspect.isfunction)
        return {name: [*inspect.signature(method).parameters] for name, method in public if name[0] != "_"}

    ours = methods(Client)
    del ours["call_all"]  # of the other client, calls can be gathered
    assert ours == methods(AsyncClient)
    assert [*inspect.signature(async_connect).parameters] == [*inspect.signature(connect).parameters]


def test_the_one_writer(client: Client) -> None:
    """With a claim, nobody writes without its lease."""
    run = client.run(JobSpec(argv=["cat"], stdin="pipe"))
    with client.claim_input(run.job.id) as target:
        with pytest.raises(errors.NotTheWriter):
            client.write(run.job.id, b"never")
        target.write(b"mine")
    assert b"".join(chunk.data for chunk in run) == b"mine"


def test_calls(client: Client) -> None:
    job = client.create(shell("read -r x"), key="blocking-calls")
    assert (job.state, client.create(shell("read -r x"), key="blocking-calls").id) == (State.CREATED, job.id)
    run = client.run(JobSpec(argv=["sleep", "600"], name="blocking"))
    assert client.status(run.job.id).state is State.RUNNING
    assert run.job.id in [listed.id for listed in client.list(["running"])]
    assert client.stats(run.job.id).pids
    assert client.update(run.job.id, labels={"a": "b"}).labels == {"a": "b"}
    assert client.pause(run.job.id).state is State.PAUSED
    assert client.resume(run.job.id).state is State.RUNNING
    assert client.signal(run.job.id, "SIGCONT") == 1
    ended = client.stop(run.job.id, StopSpec(strategy="kill"))
    assert ended.exit
    assert ended.exit.reason is Reason.STOPPED
    assert client.wait(run.job.id).state is State.EXITED
    assert "stopped" in client.explain(run.job.id).summary
    client.delete(run.job.id)
    with pytest.raises(errors.JobNotFound):
        client.status(run.job.id)
    assert client.whoami().roles == ["admin"]


def test_errors_are_those_of_the_protocol(client: Client) -> None:
    with pytest.raises(errors.MethodNotFound):
        client.call("job.dance")
    with pytest.raises(errors.InvalidParams):
        client.call("job.status", job="x")
    with pytest.raises(errors.ExecFailed):
        client.run(JobSpec(argv=["/no/such/program"]))
    with pytest.raises(errors.WaitTimeout):
        client.wait(client.run(JobSpec(argv=["sleep", "600"], timeout="5s")).job.id, 0.01)
    assert client.call("agent.ping")


def test_a_log_and_its_pages(client: Client) -> None:
    run = client.run(shell(r"printf 'a\377'; sleep .1; printf b >&2; exit 3"))
    assert [(chunk.stream, chunk.data) for chunk in run] == [("stdout", b"a\xff"), ("stderr", b"b")]
    assert run.end
    assert run.end.exit
    assert (run.end.exit.code, run.offset, run.gaps) == (3, 3, [])
    page = client.read(run.job.id, 2)
    assert ([chunk.data for chunk in page.chunks], page.end) == ([b"b"], 3)
    again = client.subscribe(run.job.id, 1, streams=["stdout"])
    assert [chunk.data for chunk in again] == [b"\xff"]


def test_many_calls_at_once(client: Client) -> None:
    """Each result comes as soon as it is there, with the number of its call; an error is a result."""
    job = client.run(JobSpec(argv=["sleep", "600"])).job.id
    calls: list[tuple[str, dict[str, Any]]] = [
        ("job.wait", {"id": job}),
        ("agent.ping", {}),
        ("job.stop", {"id": job}),
    ]
    outcomes = dict(client.call_all(calls))
    assert next(iter(outcomes)) == 1, "the wait does not hold up the others"
    assert outcomes[0]["state"] == "exited"
    missing = [("job.status", {"id": "0" * 12})] * 20
    many = dict(client.call_all([*missing, *[("job.status", {"id": job})] * 80]))
    assert [isinstance(many[number], errors.JobNotFound) for number in range(100)] == [True] * 20 + [False] * 80
    assert dict(client.call_all([])) == {}


def test_events(client: Client) -> None:
    events = client.events()
    job = client.run(JobSpec(argv=["true"])).job.id
    seen = []
    for event in events:
        if event.job.id == job:
            seen.append(event.event)
            if event.event == "exited":
                break
    assert seen == ["created", "started", "exited"]
    assert client.call("agent.ping"), "what still comes for the events is discarded"


def test_two_logs_one_after_the_other(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is not read meanwhile is paused, and continues at its offset."""
    paused = 0
    append = Inbox.append

    def counted(self: Any, item: Any) -> None:
        nonlocal paused
        append(self, item)
        paused += item is None

    monkeypatch.setattr(Inbox, "append", counted)
    monkeypatch.setattr(blocking_connection, "MAX_BACKLOG", 4)
    first, second = client.run(shell(WRITER)), client.run(shell(WRITER))
    assert b"".join(chunk.data for chunk in first) == WRITTEN
    assert b"".join(chunk.data for chunk in second) == WRITTEN
    assert paused >= 1


def test_a_subscription_over_a_killed_agent(agent: "RunningAgent", gate: "Callable[[], Gate]") -> None:
    """Each kill -9 of the agent is a lost connection, and no byte is lost or comes twice."""
    block, blocks = 60_000, 4  # lines at once: several chunks, so that the connection is lost amid them
    go_on = gate()
    writer = "; ".join(f"seq {i * block + 1} {(i + 1) * block}; {go_on.wait}" for i in range(blocks))
    written = b"".join(b"%d\n" % number for number in range(1, blocks * block + 1))
    ends = [written.index(b"\n%d\n" % (i * block + 1)) + 1 for i in range(1, blocks)] + [len(written)]
    reports: list[str] = []
    with Client(lambda: local_endpoint(agent.home), reports.append) as client:
        run = client.run(shell(writer))
        data = bytearray()
        kills = 0
        for chunk in run:
            assert chunk.offset == len(data)
            data += chunk.data
            if kills < blocks and (kills == 0 or len(data) > ends[kills - 1]):
                agent.kill()
                agent.start()
                kills += 1
            if len(data) in ends:
                go_on.open()
        assert bytes(data) == written
        assert run.end
        assert run.end.exit
        assert run.end.exit.code == 0
    assert reports == ["connection lost; trying again", "connected again"] * blocks


def test_a_connection_that_was_lost_between_two_calls(agent: "RunningAgent") -> None:
    """Is replaced before the call is sent, so that a script may pause as long as it likes."""
    with Client(lambda: local_endpoint(agent.home)) as client:
        job = client.create(shell("true")).id
        agent.end()
        agent.start()
        assert client.status(job).id == job


def test_a_call_under_which_the_agent_dies(agent: "RunningAgent") -> None:
    """Fails with ConnectionFailed: the agent may have carried it out."""
    with Client(lambda: local_endpoint(agent.home)) as client:
        job = client.run(JobSpec(argv=["sleep", "600"])).job.id
        threading.Timer(0.2, agent.kill).start()
        with pytest.raises(errors.ConnectionFailed, match="before the answer"):
            client.wait(job)
        agent.start()
        assert client.status(job).state is State.RUNNING


def counting(agent: "RunningAgent") -> tuple[list[int], Callable[[], Endpoint]]:
    """Return a function that finds the agent, and the list that it counts its calls in."""
    found: list[int] = []

    def find() -> Endpoint:
        found.append(1)
        return local_endpoint(agent.home)

    return found, find


async def test_a_request_that_is_too_large(shared: "RunningAgent") -> None:
    """Is one error with its size and the limit, from both clients, and nothing is sent."""
    spec = JobSpec(argv=["echo", *["w" * 99] * 45_000])
    found, find = counting(shared)
    with Client(find) as client:
        with pytest.raises(errors.MessageRefused, match=r"job.run: .* 45\d{5} bytes; expected at most 4194304"):
            client.run(spec)
        assert client.call("agent.ping")
    async with AsyncClient(find) as other:
        with pytest.raises(errors.MessageRefused, match=r"job.run: .* 45\d{5} bytes; expected at most 4194304"):
            await other.run(spec)
        assert await other.call("agent.ping")
    assert len(found) == 2


async def test_a_message_that_the_agent_refuses(shared: "RunningAgent", monkeypatch: pytest.MonkeyPatch) -> None:
    """1009 of a real agent is final, for the call and for a subscription: no client connects again."""
    monkeypatch.setattr(wire, "MAX_MESSAGE", 1 << 30)
    spec = JobSpec(argv=["echo", *["w" * 99] * 45_000])
    found, find = counting(shared)
    with Client(find) as client:
        run = client.run(JobSpec(argv=["sleep", "600"], timeout="5s"))
        with pytest.raises(errors.MessageRefused, match="too large"):
            client.run(spec)
        with pytest.raises(errors.MessageRefused, match="too large"):
            list(run)
        with pytest.raises(errors.MessageRefused, match="too large"):
            client.call("agent.ping")
    assert len(found) == 1
    async with AsyncClient(find) as other:
        follow = await other.run(JobSpec(argv=["sleep", "600"], timeout="5s"))
        with pytest.raises(errors.MessageRefused, match="too large"):
            await other.run(spec)
        with pytest.raises(errors.MessageRefused, match="too large"):
            [chunk async for chunk in follow]
        with pytest.raises(errors.MessageRefused, match="too large"):
            await other.reconnect()
    assert len(found) == 2


async def test_credentials_that_were_revoked(shared: "RunningAgent") -> None:
    """1008 is final: the error has the reason of the agent."""
    with Client(lambda: local_endpoint(shared.home)) as admin:
        token = admin.call("token.create", name="blocking-revoked", roles=["admin"])["token"]
        found: list[int] = []

        def find() -> Endpoint:
            found.append(1)
            return Endpoint(shared.address, token, shared.ca)

        with Client(find) as client:
            run = client.run(JobSpec(argv=["sleep", "600"], timeout="5s"))
            async with AsyncClient(find) as other:
                admin.call("token.revoke", name="blocking-revoked")
                with pytest.raises(errors.Unauthenticated, match="revoked"):
                    list(run)
                await other.closed()
                with pytest.raises(errors.Unauthenticated, match="revoked"):
                    await other.reconnect()
        assert len(found) == 2


@contextmanager
def stranger(agent: "RunningAgent", serve_one: Callable[[ServerConnection], None]) -> Iterator[str]:
    """Run a server with the certificate of an agent, and yield its address."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(agent.home.tls / "server.pem", agent.home.tls / "server.key")
    subprotocols = list(map(str, handshake.SUBPROTOCOLS))
    with serve(serve_one, "127.0.0.1", 0, ssl=tls, subprotocols=subprotocols) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"wss://127.0.0.1:{server.socket.getsockname()[1]}/rpc"
        server.shutdown()
        thread.join()


async def test_connections_that_are_lost_each_time(shared: "RunningAgent", monkeypatch: pytest.MonkeyPatch) -> None:
    """The patience is for all attempts together, also if each of them comes as far as a connection."""
    monkeypatch.setattr(wire, "RECONNECT_SECONDS", 0.5)
    opened: list[int] = []

    def close(connection: ServerConnection) -> None:
        opened.append(1)
        connection.recv()
        connection.socket.shutdown(socket.SHUT_RDWR)

    async def repeat(client: AsyncClient) -> None:
        while True:
            try:
                await client.call("agent.ping")
            except errors.ConnectionFailed:
                await client.reconnect()

    def repeat_blocking(client: Client) -> None:
        while True:
            try:
                client.call("agent.ping")
            except AnswerLost:
                client.reconnect()

    with stranger(shared, close) as address:
        with (
            connect(address, ca=shared.ca) as client,
            pytest.raises(errors.ConnectionFailed, match="each connection was lost"),
        ):
            repeat_blocking(client)
        assert 3 <= len(opened) <= 10, "the pauses grow"
        opened.clear()
        async with async_connect(address, ca=shared.ca) as other:
            with pytest.raises(errors.ConnectionFailed, match="each connection was lost"):
                await repeat(other)
        assert 3 <= len(opened) <= 10, "the pauses grow"


def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "OPEN_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"wss://127.0.0.1:{server.getsockname()[1]}/rpc"
        with pytest.raises(errors.ConnectionFailed, match=r"cannot be reached: .*timed out"):
            connect(address, token="x", insecure=True).connection.open()


def test_an_upgrade_that_is_never_answered(shared: "RunningAgent", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "OPEN_SECONDS", 1.0)
    silent = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    silent.load_cert_chain(shared.home.tls / "server.pem", shared.home.tls / "server.key")
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            sock, _ = server.accept()
            with silent.wrap_socket(sock, server_side=True):
                over.wait(DEADLINE)

        thread = threading.Thread(target=accept)
        thread.start()
        with pytest.raises(errors.ConnectionFailed, match="no answer to the upgrade within 1 s"):
            connect(f"wss://127.0.0.1:{server.getsockname()[1]}/rpc", ca=shared.ca).connection.open()
        over.set()
        thread.join()


def test_an_agent_that_hangs(agent: "RunningAgent", monkeypatch: pytest.MonkeyPatch) -> None:
    """A call ends at its timeout, and without one when pings are not answered."""
    with Client(lambda: local_endpoint(agent.home), timeout=0.2) as client:
        assert client.call("agent.ping")
        os.kill(agent.pid, signal.SIGSTOP)
        try:
            with pytest.raises(errors.ConnectionFailed, match=r"agent.ping: no answer within 0.2 s"):
                client.call("agent.ping")
        finally:
            os.kill(agent.pid, signal.SIGCONT)
        client.connection.timeout = None
        assert client.call("agent.info")["pid"] == agent.pid, "not the late answer of the call before"
        monkeypatch.setattr(channel, "PING_SECONDS", 0.2)
        os.kill(agent.pid, signal.SIGSTOP)
        try:
            with pytest.raises(errors.ConnectionFailed, match="before the answer"):
                client.call("agent.ping")
        finally:
            os.kill(agent.pid, signal.SIGCONT)


def test_a_long_wait_over_pings(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that answers pings is waited for."""
    monkeypatch.setattr(channel, "PING_SECONDS", 0.05)
    assert client.wait(client.run(JobSpec(argv=["sleep", "0.6"])).job.id).state is State.EXITED


def test_trust(shared: "RunningAgent", start_agent: "Callable[..., RunningAgent]") -> None:
    other = start_agent()
    with pytest.raises(errors.ConnectionFailed, match="is not trusted"):
        connect(shared.address, token=shared.token, ca=other.ca).connection.open()
    shown = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", shared.port)))
    pin = f"sha256:{hashlib.sha256(shown).hexdigest().upper()}"
    ways: list[dict[str, Any]] = [{"pin": pin}, {"pin": pin, "ca": shared.ca}, {"insecure": True}]
    for trust in ways:
        with connect(shared.address, token=shared.token, **trust) as client:
            assert client.call("agent.ping")
    with pytest.raises(errors.ConnectionFailed, match="is not trusted: its certificate is sha256"):
        connect(shared.address, token=shared.token, pin="sha256:" + "0" * 64).connection.open()
    with pytest.raises(errors.Unauthenticated, match="refused"):
        connect(shared.address, token="wrong", ca=shared.ca).connection.open()
    with pytest.raises(errors.ConnectionFailed, match="expected wss://"):
        connect("http://localhost").connection.open()
    with pytest.raises(errors.ConnectionFailed, match="cannot be reached"):
        connect("wss://127.0.0.1:1/rpc", insecure=True).connection.open()


def test_from_a_thread(shared: "RunningAgent") -> None:
    """One client for each thread works; a second thread on the same client gets an error."""
    answers: list[Any] = []

    def work() -> None:
        with connect(shared.address, token=shared.token, ca=shared.ca) as mine:
            run = mine.run(shell("seq 1 1000"))
            answers.append(b"".join(chunk.data for chunk in run))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert answers == [b"".join(b"%d\n" % number for number in range(1, 1001))] * 4


def test_two_threads_on_one_client(shared: "RunningAgent", client: Client) -> None:
    job = client.run(JobSpec(argv=["sleep", "600"])).job.id
    begun = threading.Event()
    waited: list[State] = []

    def wait() -> None:
        begun.set()
        waited.append(client.wait(job).state)

    thread = threading.Thread(target=wait)
    thread.start()
    begun.wait(DEADLINE)
    while not client.connection._in_use.locked():
        thread.join(0.01)
    with pytest.raises(RuntimeError, match="one client for each thread"):
        client.status(job)
    with connect(shared.address, token=shared.token, ca=shared.ca) as other:
        other.stop(job)
    thread.join(DEADLINE)
    assert waited == [State.EXITED]


def test_interrupted(shared: "RunningAgent") -> None:
    """Ctrl-C ends a wait at once, and the client works on."""
    script = """
    import sys
    from jobworker.client.blocking import connect
    from jobworker.model import JobSpec, StopSpec
    with connect(sys.argv[1], token=sys.argv[2], ca=sys.argv[3]) as client:
        job = client.run(JobSpec(argv=["sleep", "600"])).job.id
        try:
            print("waiting", flush=True)
            client.wait(job)
        except KeyboardInterrupt:
            print(client.status(job).state.value, client.stop(job, StopSpec(strategy="kill")).state.value)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), shared.address, shared.token, str(shared.ca)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=DEADLINE)[0] == "running exited\n"
        assert process.returncode == 0


def test_what_it_imports(shared: "RunningAgent") -> None:
    """Neither asyncio nor what only the agent or `jw` needs; of the types, nothing before a method returns one."""
    script = """
    import sys
    from jobworker.client import connect_blocking
    with connect_blocking(sys.argv[1], token=sys.argv[2], ca=sys.argv[3]) as client:
        client.call("agent.ping")
        print(sorted({"asyncio", "msgspec", "jobworker.model"} & {*sys.modules}))
        from jobworker.model import JobSpec
        list(client.run(JobSpec(argv=["true"])))
    print(sorted({"asyncio", "typer", "click", "rich", "jsonschema", "pluggy", "jsonrpcserver"} & {*sys.modules}))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), shared.address, shared.token, str(shared.ca)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert done.stdout == "[]\n[]\n", done.stderr
