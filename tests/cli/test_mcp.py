"""`jw mcp` by the official client, over stdio: a model's way to run jobs, and what it may do wrong."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
from mcp import Client, StdioServerParameters
from tests.conftest import DEADLINE

from jobworker.client.local import wait_gone

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

MOST = 16 << 10  # bytes of an answer
COMMAND = [sys.executable, "-m", "jobworker_cli", "mcp"]


class Model:
    """Calls tools as a model does; each answer is held against what holds for all."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def __call__(self, tool: str, /, **arguments: Any) -> tuple[str, dict[str, Any]]:
        """Return text and structured content."""
        result = await self.client.call_tool(tool, arguments)
        (content,) = result.content
        assert content.type == "text"
        assert len(content.text.encode()) <= MOST
        assert len(json.dumps(result.structured_content, ensure_ascii=False).encode()) <= MOST
        assert result.is_error == ("error" in result.structured_content), content.text
        return content.text, result.structured_content

    async def run(self, command: str, **arguments: Any) -> dict[str, Any]:
        return (await self("run", command=command, **arguments))[1]

    async def error(self, tool: str, /, **arguments: Any) -> str:
        """Return the message of an error, and what it hints at."""
        text, value = await self(tool, **arguments)
        assert "error" in value, text
        return text

    async def all_of(self, job: str, **arguments: Any) -> tuple[str, list[dict[str, Any]]]:
        """Return the whole output of an ended job, read page by page, and the pages."""
        pages: list[dict[str, Any]] = []
        while not pages or not pages[-1]["complete"]:
            offset = pages[-1]["next"] if pages else 0
            pages.append((await self("read", job=job, offset=offset, **arguments))[1])
        return "".join(page["text"] for page in pages), pages


@asynccontextmanager
async def model() -> AsyncIterator[Model]:
    """A model and a server of its own, with the local agent."""
    env = {"JOBWORKER_HOME": os.environ["JOBWORKER_HOME"]}
    server = StdioServerParameters(command=COMMAND[0], args=COMMAND[1:], env=env)
    async with Client(server, read_timeout_seconds=DEADLINE) as client:
        yield Model(client)


async def test_a_model_runs_jobs(jw: "Jw", tmp_path: Path) -> None:
    async with model() as call:
        tools = {tool.name: tool for tool in (await call.client.list_tools()).tools}
        assert {"run", "wait", "read", "search", "write", "screen", "stop", "list", "explain"} <= tools.keys()
        for listed in tools.values():
            assert listed.description
            assert listed.input_schema["type"] == "object"
            assert all(value["description"] for value in listed.input_schema["properties"].values()), listed.name

        # An end, and both streams
        text, done = await call("run", command="echo out; echo err >&2; exit 3")
        assert (done["state"], done["exit"]["code"], done["output"]["text"]) == ("exited", 3, "out\nerr\n")
        assert "exited with code 3" in text
        assert text.endswith("Output, 8 bytes:\nout\nerr\n")
        assert done["output"]["complete"]
        assert (await call.all_of(done["job"], stream="stderr"))[0] == "err\n"
        killed = await call.run("kill -9 $$")
        assert (killed["exit"]["code"], killed["exit"]["signal"]) == (None, "SIGKILL")
        limited = await call.run("sleep 100", timeout_seconds=0.1)
        assert limited["exit"]["reason"] == "timeout"

        # More output than an answer takes: head, tail, and what is between them
        lines = "".join(f"{number}\n" for number in range(1, 50_001))
        text, long = await call("run", argv=["seq", "1", "50000"])
        output = long["output"]
        assert f"[{output['between']:,} bytes between; read from offset {output['next']}]" in text
        assert lines.startswith(output["text"])
        assert lines.endswith(output["tail"])
        assert output["between"] == len(lines) - len(output["text"]) - len(output["tail"])
        assert output["tail_offset"] == output["next"] + output["between"]
        assert len(output["text"] + output["tail"]) > 9000, "the room is used"
        assert (await call.all_of(long["job"]))[0] == lines
        _, end = await call("read", job=long["job"], offset=-6)
        assert (end["text"], end["complete"]) == ("50000\n", True)
        _, rest = await call("wait", job=long["job"], offset=len(lines) - 6)
        assert rest["output"]["text"] == "50000\n"

        # Lines that match, in more answers than one
        text, found = await call("search", job=long["job"], pattern="4999")
        assert [row["line"] for row in found["matches"]] == [4999, 14999, 24999, 34999, 44999, *range(49990, 50000)]
        assert found["matches"][0] == {
            "offset": lines.index("4999\n"),
            "line": 4999,
            "stream": "stdout",
            "text": "4999",
        }
        assert found["complete"]
        assert "15 matching lines" in text
        seen: list[int] = []
        page: dict[str, Any] = {"next": 0, "complete": False}
        while not page["complete"]:
            _, page = await call("search", job=long["job"], pattern="99", offset=page["next"], limit=1000)
            seen += [row["line"] for row in page["matches"]]
        assert seen == [number for number in range(1, 50_001) if "99" in str(number)]
        _, none = await call("search", job=long["job"], pattern="x", ignore_case=True, stream="stderr")
        assert none["matches"] == []
        assert none["complete"]

        # Output that is not text, that is nearly text, and characters of several bytes at each cut
        text, binary = await call("run", command="head -c 60000 /dev/zero")
        assert binary["output"]["not_text"]
        assert "bytes that are not text" in text
        _, pages = await call.all_of(binary["job"], encoding="base64")
        assert "".join(page["base64"] for page in pages).strip("=") == "A" * 80_000
        text, nearly = await call("run", command=r"printf 'caf\351 and a long rest \033[31mred\n'")
        assert nearly["output"]["text"] == "caf\\xe9 and a long rest \\x1b[31mred\n"
        assert "not text, 1 of the bytes" in text
        wide = await call.run("yes 'ä€😀\"' | head -c 69993")
        whole, pages = await call.all_of(wide["job"])
        assert whole.encode() == ('ä€😀"\n' * 6363).encode()
        assert len(pages) > 4

        # A job that outlives the call
        ran = tmp_path / "ran"
        job = await call.run(f"echo x >> {ran}; read line; echo got $line", stdin=True, wait_seconds=0, key="once")
        assert job["state"] == "running"
        again = await call.run(f"echo x >> {ran}; read line; echo got $line", stdin=True, wait_seconds=0, key="once")
        assert (again["job"], again["ran_before"]) == (job["job"], True)
        assert "another key" in await call.error("run", command="true", key="once")
        _, written = await call("write", job=job["job"], text="hel")
        for _ in range(2):  # by its offset it is written once
            await call("write", job=job["job"], text="lo\n", offset=written["offset"])
        _, ended = await call("wait", job=job["job"])
        assert (ended["exit"]["code"], ended["output"]["text"]) == (0, "got hello\n")
        assert ran.read_text() == "x\n"
        assert "stdin true" in await call.error("write", job=job["job"], text="late")

        # What a terminal shows
        shell = await call.run(
            r"printf '\033[2Jold'; read x; printf '\033[2J\033[3;5Hhi %s' $x; read y", terminal=True, wait_seconds=0
        )
        await call("write", job=shell["job"], text="bob\r")
        screen: dict[str, Any] = {"text": ""}
        while "hi bob" not in screen["text"]:
            text, screen = await call("screen", job=shell["job"])
        assert screen["text"] == "\n\n    hi bob"
        assert (screen["rows"], screen["cols"], screen["cursor"]) == (24, 80, {"row": 2, "col": 10})
        assert text.endswith(screen["text"])
        await call("stop", job=shell["job"])
        assert "terminal true" in await call.error("screen", job=long["job"])

        # A stop ends all processes
        pids = tmp_path / "pids"
        tree = await call.run(f"sleep 1000 & setsid sleep 1000 & echo $! > {pids}; echo up; wait", wait_seconds=0)
        while not (await call("read", job=tree["job"]))[1]["text"]:
            pass
        text, stopped = await call("stop", job=tree["job"])
        assert stopped["exit"]["reason"] == "stopped"
        assert stopped["processes_left"] == []
        assert "None of its processes" in text
        assert wait_gone(int(pids.read_text()), 0)
        assert (await call("stop", job=tree["job"]))[1]["exit"] == stopped["exit"], "once more changes nothing"
        text, told = await call("explain", job=tree["job"])
        assert "SIGTERM" in text
        assert told["chain"]
        _, found = await call("list", limit=1)
        assert (found["jobs"][0]["job"], found["next"]) == (tree["job"], tree["job"])

        # Names and commands that are long in JSON
        for _ in range(80):
            spec = {"argv": ["true", '"\\😀' * 100], "name": '"😀' * 40}
            await asyncio.to_thread(jw.call, "job.create", spec=spec)
        _, found = await call("list", limit=100)
        assert 10 < len(found["jobs"]) < 80
        _, older = await call("list", limit=1, cursor=found["next"])
        assert older["jobs"][0]["job"] < found["jobs"][-1]["job"]
        await call("explain", job=found["jobs"][0]["job"])

        # What a model does wrong
        for tool, wrong, right in (
            ("run", {}, "exactly one"),
            ("run", {"command": "true", "argv": ["true"]}, "exactly one"),
            ("run", {"comand": "true"}, "comand: unknown"),
            ("run", {"argv": "true"}, "argv: 'true'; expected array"),
            ("run", {"command": "true", "wait_seconds": 1e9}, "expected 0 to 600"),
            ("run", {"command": "true", "wait_seconds": "soon"}, "wait_seconds: 'soon'; expected"),
            ("run", {"command": "x\0y"}, "NUL"),
            ("run", {"argv": ["/no/such/program"]}, "No such file"),
            ("run", {"command": "true", "cwd": "no/such/folder"}, "no/such/folder"),
            ("read", {"job": "no-such-job"}, "list returns the jobs"),
            ("read", {"job": tree["job"], "stream": "out"}, '"stdout"'),
            ("read", {"job": tree["job"], "offset": 10**30}, "offset"),
            ("read", {}, "job: missing"),
            ("search", {"job": tree["job"], "pattern": ""}, "pattern"),
            ("write", {"job": tree["job"], "text": "x" * (1 << 20)}, "expected at most"),
            ("explain", {"job": ""}, "empty word"),
        ):
            assert right in await call.error(tool, **wrong), (tool, wrong)
        lenient = await call.run("true", wait_seconds="10", cwd=None, name=None)
        assert lenient["exit"]["code"] == 0, "numbers as text, null for nothing"


async def test_reading_on_and_searching(jw: "Jw") -> None:
    """A read waits for what is not written yet, and ends with the job; a search takes regular expressions."""
    async with model() as call:
        script = "echo ready 1; read x; echo got $x 22; read y; echo bye >&2; exit 4"
        job = (await call.run(script, stdin=True, wait_seconds=0))["job"]
        _, first = await call("read", job=job, wait_seconds=60)
        assert (first["text"], first["complete"]) == ("ready 1\n", False)
        began = time.monotonic()
        text, none = await call("read", job=job, offset=first["next"], wait_seconds=0.3)
        assert (none["text"], none["next"], none["complete"]) == ("", first["next"], False)
        assert "the end so far" in text
        assert time.monotonic() - began >= 0.3
        waiting = [
            asyncio.create_task(call("read", job=job, offset=first["next"], wait_seconds=60)) for _ in range(100)
        ]
        await call("write", job=job, text="it\n")
        second = {(page["text"], page["next"]) for _, page in await asyncio.gather(*waiting)}
        assert second == {("got it 22\n", 18)}
        errors = asyncio.create_task(call("read", job=job, offset=18, stream="stderr", wait_seconds=60))
        out = asyncio.create_task(call("read", job=job, offset=18, stream="stdout", wait_seconds=60))
        await call("write", job=job, text="go\n")
        assert (await errors)[1]["text"] == "bye\n"
        _, page = await out
        assert (page["text"], page["complete"]) == ("", True), "it ends with the job"
        assert (await call("read", job=job, offset=22, wait_seconds=60))[1]["complete"]
        assert "expected 0 to 600" in await call.error("read", job=job, wait_seconds=601)

        _, found = await call("search", job=job, pattern=r"\d+$", regex=True)
        assert [(row["line"], row["text"]) for row in found["matches"]] == [(1, "ready 1"), (2, "got it 22")]
        _, found = await call("search", job=job, pattern="^(BYE|hi)$", regex=True, ignore_case=True, stream="stderr")
        assert [(row["text"], row["stream"]) for row in found["matches"]] == [("bye", "stderr")]
        assert "RE2" in await call.error("search", job=job, pattern="(", regex=True)


class Raw:
    """A server to which anything can be written."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdin
        assert self.process.stdout
        self._in: IO[bytes] = self.process.stdin
        self._out: IO[bytes] = self.process.stdout

    def send(self, *lines: bytes) -> None:
        self._in.write(b"".join(line + b"\n" for line in lines))
        self._in.flush()

    def request(self, number: int, method: str, **params: Any) -> None:
        self.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode())

    def call(self, number: int, tool: str, **arguments: Any) -> None:
        self.request(number, "tools/call", name=tool, arguments=arguments)

    def answer(self) -> Any:
        return json.loads(self._out.readline())

    def answers(self, count: int) -> dict[int, Any]:
        return {answer["id"]: answer for answer in (self.answer() for _ in range(count))}

    def initialize(self) -> None:
        info = {"name": "test", "version": "1"}
        self.request(0, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=info)
        assert self.answer()["result"]["serverInfo"]["name"] == "jobworker"
        self.send(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')

    def end(self) -> tuple[int, bytes]:
        self._in.close()
        code = self.process.wait(DEADLINE)
        self._out.close()
        assert self.process.stderr
        with self.process.stderr as pipe:
            return code, pipe.read()


RUBBISH = [
    b"",
    b"rubbish",
    b"\xff\xfe\x00",
    b"[]",
    b"{}",
    b"null",
    b"[" * 100_000,
    b'{"jsonrpc": "2.0", "id": 1}',
    b'{"jsonrpc": "2.0", "id": {}, "method": "tools/list"}',
    b'{"jsonrpc": "2.0", "id": 1, "result": {}}',
    b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 12345}}',
    b'{"jsonrpc": "2.0", "method": "no/such/notification"}',
    b'"' + b"x" * 3_000_000 + b'"',
]


def test_a_client_that_sends_rubbish_cancels_and_leaves(jw: "Jw") -> None:
    raw = Raw()
    raw.initialize()
    raw.send(*RUBBISH)
    raw.request(1, "no/such/method")
    raw.call(2, "no_such_tool")
    raw.request(3, "tools/call", name=5)
    raw.request(4, "tools/call", name="run", arguments=[])
    assert all("error" in answer for answer in raw.answers(4).values())

    # A hundred at once, of which more wait than an agent takes calls: the others get through
    jw("run", "-d", "--name", "gate", "-i", "--", "sh", "-c", "read line; exit 7")
    for number in range(100, 170):
        raw.call(number, "wait", job="gate", wait_seconds=60)
    for number in range(170, 200):
        raw.call(number, "run", command=f"echo {number}; exit {number % 100}")
    answers = raw.answers(30)
    assert set(answers) == set(range(170, 200))
    for number, answer in answers.items():
        value = answer["result"]["structuredContent"]
        assert (value["exit"]["code"], value["output"]["text"]) == (number % 100, f"{number}\n")

    # Some are cancelled; they are not answered, and the job runs on
    for number in range(100, 150):
        params = {"requestId": number, "reason": "no longer needed"}
        raw.send(json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}).encode())
    raw.call(300, "write", job="gate", text="go\n")
    answers = raw.answers(21)
    assert set(answers) == {*range(150, 170), 300}
    assert {answers[number]["result"]["structuredContent"]["exit"]["code"] for number in range(150, 170)} == {7}

    # It leaves within a call: the server ends, the job runs on
    raw.call(301, "run", command="exec sleep 1000", name="left-behind", wait_seconds=60)
    while not re.search("left-behind +running", jw.out("ps")):
        pass
    code, stderr = raw.end()
    assert (code, stderr) == (0, b"")
    assert jw.job("left-behind")["state"] == "running"
    jw.kill("left-behind")


async def test_agent_keeper_and_server_die(lone_jw: "Jw", tmp_path: Path) -> None:
    """Killed at once, while a job writes: the next server and the next agent go on with it."""
    command = (
        f"echo ran >> {tmp_path / 'ran'}; for i in $(seq 400); do printf '%0199d\\n' $i; sleep 0.005; done; "
        "read go; exit 9"
    )
    arguments: dict[str, Any] = {"command": command, "key": "survivor", "wait_seconds": 0, "stdin": True}
    pids = tmp_path / "pid"
    server = StdioServerParameters(
        command="sh",
        args=["-c", f'echo $$ > {pids}; exec "$0" "$@"', *COMMAND],
        env={"JOBWORKER_HOME": os.environ["JOBWORKER_HOME"]},
    )
    async with Client(server, read_timeout_seconds=DEADLINE) as client:
        job = (await Model(client)("run", **arguments))[1]["job"]
        waiting = asyncio.create_task(client.call_tool("wait", {"job": job, "wait_seconds": 60}))
        info = await asyncio.to_thread(lone_jw.call, "agent.info")
        for pid in (info["pid"], info["keeper"]["pid"], int(pids.read_text())):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(Exception, match=r"(?i)clos"):
            await waiting
    async with model() as call:
        again = (await call("run", **arguments))[1]
        assert (again["job"], again["ran_before"]) == (job, True)
        assert (await call.run("exit 5"))["exit"]["code"] == 5, "there is a keeper again, which has adopted the job"
        await call("write", job=job, text="go\n")
        text, ended = await call("wait", job=job, wait_seconds=60)
        assert ended["exit"]["code"] == 9, text[:500]
        # The agent alone, under a server that has a connection to it
        os.kill((await asyncio.to_thread(lone_jw.call, "agent.info"))["pid"], signal.SIGKILL)
        assert (await call.all_of(job))[0] == "".join(f"{number:0199}\n" for number in range(1, 401))
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_without_the_package(jw: "Jw") -> None:
    """It is imported by `jw mcp` alone, and named where it is missing."""
    script = "import sys; sys.modules['mcp'] = None; from jobworker_cli.app import run; sys.exit(run(sys.argv[1:]))"
    for words, code in ((["mcp"], 6), (["ps"], 0)):
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
    done = subprocess.run([sys.executable, "-c", script, "mcp"], capture_output=True, text=True, check=False)
    assert "hint: pip install 'jobworker[mcp]'" in done.stderr


def test_an_agent_that_does_not_answer(jw: "Jw") -> None:
    """The tools are listed all the same, and a call returns the reason."""
    env = os.environ | {"JW_ADDRESS": "wss://127.0.0.1:1/rpc", "JW_TOKEN": "x"}
    lines: list[dict[str, Any]] = [
        {
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "t", "version": "1"},
            },
        },
        {"method": "tools/list"},
        {"method": "tools/call", "params": {"name": "run", "arguments": {"command": "true"}}},
    ]
    with subprocess.Popen(COMMAND, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        for number, line in enumerate(lines):
            process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": number, **line}).encode() + b"\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())["result"]
        process.stdin.close()
        assert process.wait(DEADLINE) == 0
    assert answer["isError"]
    assert "127.0.0.1:1" in answer["content"][0]["text"]
