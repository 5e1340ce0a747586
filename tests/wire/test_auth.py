"""Logins: credentials at the upgrade or in the first message, the Origin of the page, the Host."""

import asyncio
import base64
import contextlib
import json
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import DEADLINE
from websockets.exceptions import ConnectionClosed

from jobworker.protocol import encode_bearer

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Upgrade, Wire

pytestmark = pytest.mark.usefixtures("unharmed")

WRONG = "jw1_" + "A" * 43


def request(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


# At the upgrade


async def test_a_token_in_the_header(shared: "RunningAgent", dial: "Dial") -> None:
    """A good token in the header is enough; the scheme may be written as anyone likes."""
    async with dial(shared) as wire:
        who = await wire.ask("auth.whoami")
        may = {"look": "all", "control": "all", "create": True, "admin": True, "methods": ["*"], "labels": {}}
        caller = {"name": "local", "provider": "token", "roles": ["admin"], "issuer": "", "expires_at": None}
        methods = who.pop("methods")
        assert {"job.run", "job.stop", "token.create", "auth.whoami"} <= set(methods)
        assert who == {**caller, "grants": [may]}
    async with dial(shared, token=None, headers=[("Authorization", f"bEARER  {shared.token}")]) as wire:
        assert await wire.ask("auth.whoami") == {**who, "methods": methods}


async def test_the_methods_that_a_caller_may_call(shared: "RunningAgent", wire: "Wire", dial: "Dial") -> None:
    """`auth.whoami` lists them: exactly those are not refused for want of a role."""
    token = (await wire.ask("token.create", name="some-reader", roles=["reader"]))["token"]
    every = [each["name"] for each in (await wire.ask("rpc.discover"))["methods"]]
    async with dial(shared, token=token) as reader:
        methods = (await reader.ask("auth.whoami"))["methods"]
        assert {"auth.whoami", "job.list", "log.read"} <= set(methods)
        assert not {"job.run", "token.create", "agent.shutdown"} & set(methods)
        for name in every:
            error = (await reader.answer(await reader.begin(name, no_such_param=1))).get("error", {})
            assert (error.get("code") == 40301) is (name not in methods), name


async def test_a_token_in_the_subprotocol(shared: "RunningAgent", dial: "Dial") -> None:
    """Browsers cannot set headers: the token comes as a subprotocol, which is not echoed."""
    bearer = encode_bearer(shared.token)
    assert "=" not in bearer
    for offered in (["jobworker.v1", bearer], [bearer, "jobworker.v1"]):
        async with dial(shared, token=None, subprotocols=offered) as wire:
            assert wire.connection.subprotocol == "jobworker.v1"
            assert (await wire.ask("auth.whoami"))["name"] == "local"
            assert wire.connection.response is not None
            assert bearer not in str(wire.connection.response.headers)


async def test_only_the_bearer_subprotocol(shared: "RunningAgent", upgrade: "Upgrade") -> None:
    """The token is not echoed, even if the client offers no other subprotocol."""
    bearer = encode_bearer(shared.token)
    status, headers, body = await upgrade(shared, ("Sec-WebSocket-Protocol", bearer))
    assert "sec-websocket-protocol" not in headers
    assert bearer.lower() not in f"{headers}{body}".lower()
    assert status in (101, 400)


@pytest.mark.parametrize(
    ("headers", "statuses"),
    [
        ([("Authorization", f"Bearer {WRONG}")], {401}),
        ([("Authorization", "Bearer ")], {400, 401}),
        ([("Authorization", "Bearer")], {400, 401}),
        ([("Authorization", "")], {400, 401}),
        ([("Authorization", "Bearer no token of ours")], {401}),
        ([("Authorization", "Bearer jw1_\xff\xfe")], {400, 401}),
        ([("Authorization", "Bearer " + "x" * 7000)], {401}),
        ([("Authorization", "Digest x")], {400, 401}),
        ([("Authorization", "nonsense")], {400, 401}),
        ([("Authorization", basic("user:password"))], {401}),
        ([("Authorization", basic(":"))], {401}),
        ([("Authorization", basic("nocolon"))], {400, 401}),
        ([("Authorization", "Basic !!!")], {400, 401}),
        ([("Sec-WebSocket-Protocol", f"jobworker.v1, {encode_bearer(WRONG)}")], {401}),
        ([("Sec-WebSocket-Protocol", "jobworker.v1, base64url.bearer.jobworker.")], {400, 401}),
        ([("Sec-WebSocket-Protocol", "jobworker.v1, base64url.bearer.jobworker.A")], {400, 401}),
        ([("Sec-WebSocket-Protocol", "jobworker.v1, base64url.bearer.jobworker._w")], {400, 401}),
    ],
    ids=lambda it: str(it)[:70],
)
async def test_wrong_credentials(
    shared: "RunningAgent", upgrade: "Upgrade", headers: list[tuple[str, str]], statuses: set[int]
) -> None:
    """Wrong credentials get an HTTP answer, never a connection, and the answer repeats no secret."""
    status, said, body = await upgrade(shared, *headers)
    assert status in statuses
    assert WRONG not in body
    if status == 401:
        assert said["www-authenticate"].startswith("bearer")


async def test_credentials_twice(shared: "RunningAgent", upgrade: "Upgrade") -> None:
    """Header and subprotocol together, or one of them twice: 400, however good they are."""
    header = ("Authorization", f"Bearer {shared.token}")
    bearer = encode_bearer(shared.token)
    assert (await upgrade(shared, header))[0] == 101
    for headers in (
        [header, ("Sec-WebSocket-Protocol", f"jobworker.v1, {bearer}")],
        [header, header],
        [header, ("Authorization", f"Bearer {WRONG}")],
        [("Sec-WebSocket-Protocol", f"jobworker.v1, {bearer}, {bearer}")],
        [("Sec-WebSocket-Protocol", f"jobworker.v1, {bearer}"), ("Sec-WebSocket-Protocol", bearer)],
    ):
        assert (await upgrade(shared, *headers))[0] == 400


async def test_a_token_in_the_url(shared: "RunningAgent", dial: "Dial") -> None:
    """A token in the URL or in a cookie is not accepted."""
    for how in (
        {"path": f"/rpc?token={shared.token}&access_token={shared.token}"},
        {"headers": [("Cookie", f"token={shared.token}")]},
    ):
        async with dial(shared, token=None, **how) as wire:
            assert (await wire.tell(request("auth.whoami")))["error"]["code"] == 40101
            assert await wire.closed() == 1008


# As the first message


async def test_login(shared: "RunningAgent", dial: "Dial") -> None:
    """Without credentials the upgrade is answered, and auth.login opens the session."""
    async with dial(shared, token=None) as wire:
        assert (await wire.ask("auth.login", token=shared.token))["name"] == "local"
        assert (await wire.ask("auth.whoami"))["roles"] == ["admin"]
        assert "id" in await wire.ask("job.create", spec={"shell": ":"})


async def test_a_login_that_is_announced(shared: "RunningAgent", dial: "Dial") -> None:
    """With its subprotocol, the credentials of the upgrade count for nothing: only auth.login opens the session."""
    offered = ["jobworker.v1", "jobworker.login"]
    async with dial(shared, subprotocols=offered) as wire:
        assert wire.connection.subprotocol == "jobworker.v1"
        assert (await wire.ask("auth.login", token=shared.token))["name"] == "local"
        assert "id" in await wire.ask("job.create", spec={"shell": ":"})
    async with dial(shared, subprotocols=offered) as wire:
        assert (await wire.tell(request("auth.whoami")))["error"]["code"] == 40101
        assert await wire.closed() == 1008


async def test_login_as_another_principal(wire: "Wire", shared: "RunningAgent") -> None:
    """A login on a connection that is logged in is an error, and the session continues."""
    assert (await wire.refused("auth.login", token=shared.token))["code"] == -32600
    assert (await wire.refused("auth.login", token=WRONG))["code"] == -32600
    assert (await wire.ask("auth.whoami"))["name"] == "local"


@pytest.mark.parametrize("token", [WRONG, "", "x", "jw1_", "\0", "jw1_\U0001f600"])
async def test_a_wrong_login(shared: "RunningAgent", dial: "Dial", token: str) -> None:
    """40101, then the connection is closed."""
    async with dial(shared, token=None) as wire:
        error = await wire.refused("auth.login", token=token)
        assert (error["code"], error["data"]["reason"]) == (40101, "unauthenticated")
        assert await wire.closed() == 1008


@pytest.mark.parametrize(
    "params", [{}, {"token": 5}, {"username": "x"}, {"token": WRONG, "username": "x", "password": "y"}], ids=str
)
async def test_a_malformed_login(shared: "RunningAgent", dial: "Dial", params: dict[str, Any]) -> None:
    """The error names what is wrong, and the connection is closed."""
    async with dial(shared, token=None) as wire:
        assert (await wire.refused("auth.login", **params))["code"] == -32602
        assert await wire.closed() == 1008


@pytest.mark.parametrize(
    "method",
    ["agent.ping", "agent.info", "auth.whoami", "job.list", "job.explain", "token.list", "rpc.discover", "no.such"],
)
async def test_anything_before_the_login(shared: "RunningAgent", dial: "Dial", method: str) -> None:
    """Any other first message: 40101 and close 1008."""
    async with dial(shared, token=None) as wire:
        assert (await wire.refused(method))["code"] == 40101
        assert await wire.closed() == 1008


async def test_what_is_done_before_the_login_is_not_done(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """Neither a notification nor a batch gets anything past the login."""
    create = {
        "jsonrpc": "2.0",
        "method": "job.create",
        "params": {"spec": {"shell": ":", "labels": {"by": "nobody"}}},
    }
    login = request("auth.login", token=shared.token)
    for first in (create, [create], [{**create, "id": 2}, login], [{**create, "id": 2}] * 3):
        async with dial(shared, token=None) as stranger:
            await stranger.say(first)
            if isinstance(first, list):  # which could hold many guesses
                assert (await stranger.hear())["error"]["code"] == 40101
            assert await stranger.closed() == 1008
    assert (await wire.ask("job.list", labels={"by": "nobody"}))["jobs"] == []


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "5", "[" * 5000])
async def test_garbage_before_the_login(shared: "RunningAgent", dial: "Dial", text: str) -> None:
    """Garbage closes the connection like any other first message."""
    async with dial(shared, token=None) as wire:
        await wire.say(text)
        assert await wire.closed() == 1008


async def test_a_binary_frame_before_the_login(shared: "RunningAgent", dial: "Dial") -> None:
    """A login in a binary frame is refused."""
    async with dial(shared, token=None) as wire:
        await wire.connection.send(json.dumps(request("auth.login", token=shared.token)).encode())
        assert await wire.closed() in (1003, 1008)


@pytest.mark.parametrize("filler", [" " * 8192, "é" * 4096, "\U0001f600" * 2048], ids=["spaces", "two", "four"])
async def test_a_login_over_8_kib(shared: "RunningAgent", dial: "Dial", filler: str) -> None:
    """The first message has at most 8 KiB, counted in bytes; a larger one is refused."""
    login = {**request("auth.login", token=shared.token), "id": filler}
    async with dial(shared, token=None) as wire:
        await wire.say(json.dumps(login, ensure_ascii=False))
        with contextlib.suppress(ConnectionClosed):
            assert "result" not in await wire.hear()
        assert await wire.closed() == 1008


async def test_a_login_that_does_not_come(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """No auth.login in time: close 1008. Who logged in in time stays."""
    agent = start_agent(config='[auth]\nlogin_timeout = "300ms"\n')
    async with dial(agent, token=None) as silent, dial(agent, token=None) as quick:
        await quick.ask("auth.login", token=agent.token)
        assert await silent.closed() == 1008
        assert "time" in await quick.ask("agent.ping")


# From where, by which name


async def test_origins(shared: "RunningAgent", upgrade: "Upgrade") -> None:
    """A script has no Origin, a page of the agent its own; every other page is refused."""
    bearer = ("Authorization", f"Bearer {shared.token}")
    port = shared.port
    for good in (f"https://127.0.0.1:{port}", f"https://localhost:{port}", f"https://[::1]:{port}"):
        assert (await upgrade(shared, bearer, ("Origin", good)))[0] == 101, good
    for bad in (
        "null",
        "",
        "*",
        "https://evil.example",
        f"http://127.0.0.1:{port}",
        f"https://127.0.0.1:{port + 1 if port < 65535 else 1024}",
        f"https://127.0.0.1:{port}.evil.example",
        f"https://127.0.0.1:{port}/",
        f"https://127.0.0.1:{port}@evil.example",
        f"https://evil.example/https://127.0.0.1:{port}",
        f"https://evillocalhost:{port}",
        f"https://localhost.evil.example:{port}",
        f"https://127.0.0.1:{port} https://evil.example",
        "https://127.0.0.1",
    ):
        for headers in ([bearer, ("Origin", bad)], [("Origin", bad)]):
            assert (await upgrade(shared, *headers))[0] == 403, bad
    own = ("Origin", f"https://127.0.0.1:{port}")
    assert (await upgrade(shared, bearer, own, ("Origin", "https://evil.example")))[0] in (400, 403)


async def test_a_configured_origin(start_agent: "Callable[..., RunningAgent]", upgrade: "Upgrade") -> None:
    """server.origins are allowed exactly, server.names are names of the agent."""
    config = '[server]\norigins = ["https://ops.example.org"]\nnames = ["jobs.example.org"]\n'
    agent = start_agent(config=config)
    bearer = ("Authorization", f"Bearer {agent.token}")
    assert (await upgrade(agent, bearer, ("Origin", "https://ops.example.org")))[0] == 101
    for bad in ("https://ops.example.org:443", "https://ops.example.org.evil", "http://ops.example.org"):
        assert (await upgrade(agent, bearer, ("Origin", bad)))[0] == 403, bad
    assert (await upgrade(agent, bearer, host=f"jobs.example.org:{agent.port}"))[0] == 101
    assert (await upgrade(agent, bearer, ("Origin", f"https://jobs.example.org:{agent.port}")))[0] == 101


async def test_the_host(shared: "RunningAgent", upgrade: "Upgrade") -> None:
    """The Host must be a name of the agent: a page that rebinds its own name gets nowhere."""
    bearer = ("Authorization", f"Bearer {shared.token}")
    port = shared.port
    names = ("localhost:1", "localhost:", "127.0.0.1", "[::1]")
    for good in (f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}", *names):
        assert (await upgrade(shared, bearer, host=good))[0] == 101, good
    for bad in (
        "evil.example",
        f"evil.example:{port}",
        "localhost.evil.example",
        "",
        ":1",
        "localhost:1:1",
        "localhost:evil",
        "localhost@evil.example",
        "::1",
        "[::1]evil.example",
    ):
        assert (await upgrade(shared, bearer, host=bad))[0] in (400, 403), bad


async def test_a_page_behind_a_published_port(shared: "RunningAgent", upgrade: "Upgrade") -> None:
    """As by docker -p or ssh -L: a page of the name and port of the request is the agent's own, others are not."""
    bearer = ("Authorization", f"Bearer {shared.token}")
    for origin, status in (
        ("https://localhost:9443", 101),
        ("https://localhost:9444", 403),
        ("http://localhost:9443", 403),
        ("https://127.0.0.1:9443", 403),
    ):
        assert (await upgrade(shared, bearer, ("Origin", origin), host="localhost:9443"))[0] == status, origin


async def test_two_hosts(shared: "RunningAgent", upgrade: "Upgrade") -> None:
    """A request with two Hosts is refused, without a traceback in the log."""
    seen = shared.home.agent_log.stat().st_size
    bearer = ("Authorization", f"Bearer {shared.token}")
    assert (await upgrade(shared, bearer, ("Host", "evil.example")))[0] in (400, 403)
    assert b"Traceback" not in shared.home.agent_log.read_bytes()[seen:]


@pytest.mark.parametrize("path", ["/rpc/", "/RPC", "/rpcx", "/rpc/../x", "//rpc", "/%72pc", "//[", "/status"])
async def test_other_paths(shared: "RunningAgent", upgrade: "Upgrade", path: str) -> None:
    """There is /rpc, and the page in the browser: for the rest 404, without a traceback in the log."""
    seen = shared.home.agent_log.stat().st_size
    assert (await upgrade(shared, ("Authorization", f"Bearer {shared.token}"), path=path))[0] == 404
    assert b"Traceback" not in shared.home.agent_log.read_bytes()[seen:]


# The limit on connections


async def test_what_is_no_websocket_holds_no_place(
    start_agent: "Callable[..., RunningAgent]", upgrade: "Upgrade", dial: "Dial"
) -> None:
    """Requests that never become a connection do not count against limits.connections."""
    agent = start_agent(config="[limits]\nconnections = 3\n")
    try:
        for headers in ([], [("Authorization", f"Bearer {agent.token}")]):
            for _ in range(4):
                assert (await upgrade(agent, *headers, ("Sec-WebSocket-Key", "broken")))[0] == 400
        async with dial(agent) as wire, dial(agent), dial(agent):
            assert "time" in await wire.ask("agent.ping")
            assert (await upgrade(agent))[0] == 503
        async with asyncio.timeout(DEADLINE):
            while (await upgrade(agent))[0] == 503:
                pass
    finally:
        await asyncio.to_thread(agent.end)


# TLS


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_versions(shared: "RunningAgent", version: ssl.TLSVersion) -> None:
    """TLS 1.2 and 1.3 are spoken."""
    context = ssl.create_default_context(cafile=shared.ca)
    context.minimum_version = context.maximum_version = version
    reader, writer = await asyncio.open_connection("127.0.0.1", shared.port, ssl=context)
    assert reader is not None
    assert writer.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
    writer.close()
    await writer.wait_closed()


async def test_a_stranger_does_not_trust_the_certificate(shared: "RunningAgent") -> None:
    """Without the agent's CA a client refuses it; with it, only by its names."""
    with (
        socket.create_connection(("127.0.0.1", shared.port)) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        await asyncio.to_thread(ssl.create_default_context().wrap_socket, plain, server_hostname="127.0.0.1")
    context = ssl.create_default_context(cafile=shared.ca)
    with (
        socket.create_connection(("127.0.0.1", shared.port)) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        await asyncio.to_thread(context.wrap_socket, plain, server_hostname="evil.example")
