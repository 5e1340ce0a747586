"""`jw mcp`: serve an AI agent over stdin and stdout."""

import sys

from jobworker.errors import StartError
from jobworker_cli import output
from jobworker_cli.command import command
from jobworker_cli.declare import Context


@command
async def mcp(ctx: Context) -> None:
    """Let an AI agent run and follow jobs: serve the Model Context Protocol over stdin and stdout.

    The program of the AI agent starts it. Jobs outlive it, and the next one goes on with them.
    """
    choice = ctx.obj
    choice.endpoint()  # what is wrong with the choice of the agent is reported now, and not to a model
    try:
        from jobworker_cli.mcp.server import serve
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("mcp"):
            raise
        raise StartError(
            "jw mcp needs the package mcp, which is not installed", hint="pip install 'jobworker[mcp]'"
        ) from None
    if sys.stdin is not None and sys.stdin.isatty():
        output.note("jw mcp talks to the program of an AI agent, which starts it; Ctrl-C ends it")
    await serve(choice)
