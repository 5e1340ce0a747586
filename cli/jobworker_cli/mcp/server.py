"""The server: it lists the tools, calls them, and turns what they raise into answers."""

import asyncio
import contextlib
import signal
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)

from jobworker import __version__
from jobworker.errors import JobworkerError
from jobworker_cli import output
from jobworker_cli.endpoint import Choice
from jobworker_cli.mcp import arguments
from jobworker_cli.mcp.answers import Answer, of_error
from jobworker_cli.mcp.tools import Toolbox

INSTRUCTIONS = """\
These tools run commands as jobs. A job outlives the call, this server and your session: nothing is killed because a
call takes long. run starts one and waits a while; if it has not ended then, go on with wait, read, write or stop,
by its id. Answers have at most 16 KiB: the head and the tail of the output, and the offset from which read goes
on. Nothing of the output is lost. The exit code is exact; a job whose end is not known is "lost", never code 0.
"""


class Declared(NamedTuple):
    """A tool as it is listed, the type of its arguments, and its function."""

    kind: type[arguments.Arguments]
    call: Callable[[Toolbox, Any], Awaitable[Answer]]
    description: str
    annotations: ToolAnnotations


def _hints(*, reads: bool = False, destroys: bool = False, repeats: bool = False) -> ToolAnnotations:
    return ToolAnnotations(
        read_only_hint=reads, destructive_hint=destroys, idempotent_hint=repeats or reads, open_world_hint=not reads
    )


TOOLS = {
    "run": Declared(
        arguments.Run,
        Toolbox.run,
        "Run a command as a job and wait up to wait_seconds for its end. Returns the id of the job, its state, its"
        " exit code or signal, and its output (stdout and stderr in order of arrival; of long output head and tail)."
        " If it still runs, it runs on: use wait or read with its id, do not run it again.",
        _hints(destroys=True),
    ),
    "wait": Declared(
        arguments.Wait,
        Toolbox.wait,
        "Wait up to wait_seconds until a job ends. Returns its state, its exit code or signal, and its output from"
        " offset on. With wait_seconds 0: its state now.",
        _hints(reads=True),
    ),
    "read": Declared(
        arguments.Read,
        Toolbox.read,
        "Read the output of a job, running or ended, from an offset: one page and the offset of the next. With"
        " wait_seconds, waits for new output if there is none at that offset. A negative offset reads the end of it.",
        _hints(reads=True),
    ),
    "search": Declared(
        arguments.Search,
        Toolbox.search,
        "Find lines in the output of a job, running or ended, by a text or a regular expression. Returns each line"
        " with its number and the offset of the match; read at that offset returns what follows it.",
        _hints(reads=True),
    ),
    "write": Declared(
        arguments.Write,
        Toolbox.write,
        "Write text to the standard input of a job that was run with stdin or terminal true. Returns how many bytes"
        " the input has taken. It adds no line end.",
        _hints(),
    ),
    "screen": Declared(
        arguments.OfJob,
        Toolbox.screen,
        "Return what the terminal of a job shows now, as lines of text, and where its cursor is. For jobs that were"
        " run with terminal true; use write to type.",
        _hints(reads=True),
    ),
    "stop": Declared(
        arguments.Stop,
        Toolbox.stop,
        "Stop a job and all processes it has started: SIGTERM, then SIGKILL after grace_seconds. Returns when none of"
        " them is left, or names those that are. A job that has ended stays as it is.",
        _hints(destroys=True, repeats=True),
    ),
    "list": Declared(
        arguments.List,
        Toolbox.list,
        "List jobs, newest first: id, name, state, exit code and command. Finds the job of a call whose answer was"
        " lost.",
        _hints(reads=True),
    ),
    "explain": Declared(
        arguments.OfJob,
        Toolbox.explain,
        "Explain why a job is in its state: what happened to it, in order, what caused it, and the last lines of its"
        " stderr. For a job that did not start, was killed, timed out or hangs.",
        _hints(reads=True),
    ),
}


def listed() -> list[Tool]:
    """Return the tools as a client sees them."""
    return [
        Tool(
            name=name,
            description=tool.description,
            input_schema=arguments.schema(tool.kind),
            annotations=tool.annotations,
        )
        for name, tool in TOOLS.items()
    ]


async def answer(toolbox: Toolbox, name: str, raw: dict[str, Any]) -> Answer:
    """Return the answer of a tool; what it raises is an answer, too."""
    tool = TOOLS[name]
    try:
        return (await tool.call(toolbox, arguments.read(tool.kind, raw))).bounded()
    except Exception as error:
        if not isinstance(error, JobworkerError):
            output.write_stderr("".join(traceback.format_exception(error)).rstrip())
        return of_error(error).bounded()


def build(toolbox: Toolbox) -> Server:
    """Return the server over a toolbox."""

    async def list_tools(_: ServerRequestContext, __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=listed())

    async def call_tool(_: ServerRequestContext, params: CallToolRequestParams) -> CallToolResult:
        if params.name not in TOOLS:
            raise MCPError(INVALID_PARAMS, f"there is no tool {params.name[:80]!r}; there are: {', '.join(TOOLS)}")
        result = await answer(toolbox, params.name, params.arguments or {})
        return CallToolResult(
            content=[TextContent(type="text", text=result.text)],
            structured_content=result.structured,
            is_error=result.failed,
        )

    return Server(
        "jobworker",
        version=__version__,
        title="jobworker",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def serve(choice: Choice) -> None:
    """Serve over stdin and stdout until stdin ends."""
    loop = asyncio.get_running_loop()
    # A thread reads stdin and cannot be interrupted; there is nothing to clean up, as jobs outlive this process.
    loop.remove_signal_handler(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    toolbox = Toolbox(choice.client, local=choice.local)
    server = build(toolbox)
    try:
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
    finally:
        with contextlib.suppress(Exception):
            await toolbox.link.close()
