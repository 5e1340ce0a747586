"""The options before the command: which agent."""

from pathlib import Path
from typing import Annotated

from jobworker_cli import output
from jobworker_cli.declare import Context, Option, UsageError
from jobworker_cli.options import Json

COLOURS = {"auto": None, "always": True, "never": False}


def choose_agent(
    ctx: Context,
    address: Annotated[
        str | None, Option(help="The agent, as wss://HOST:PORT/rpc; without it, the local agent.")
    ] = None,
    token: Annotated[
        str | None, Option(help="A token for it. Every user of this host sees it in `ps`; prefer JW_TOKEN.")
    ] = None,
    ca: Annotated[Path | None, Option(help="The PEM file of the only CA to trust.")] = None,
    cert: Annotated[Path | None, Option(help="The PEM file of a client certificate, for an agent with mTLS.")] = None,
    key: Annotated[Path | None, Option(help="The PEM file of its key, if it is not in --cert.")] = None,
    pin: Annotated[
        str | None, Option(metavar="sha256:…", help="The fingerprint of the only certificate to trust.")
    ] = None,
    insecure: Annotated[
        bool, Option("--insecure", help="Skip certificate verification: any server gets your token.")
    ] = False,
    context: Annotated[
        str | None,
        Option("-c", "--context", metavar="NAME", help="The name of a context, or of several for `jw ps`: A,B."),
    ] = None,
    debug: Annotated[
        bool, Option("--debug", help="Print each message to and from the agent, without secrets, and tracebacks.")
    ] = False,
    color: Annotated[
        str, Option("--color", also=["--colour"], metavar="WHEN", help="Colour: auto (on a terminal), always, never.")
    ] = "auto",
    version: Annotated[bool, Option("-V", "--version", help="Print the version of jw.")] = False,
    json_: Json = False,
) -> None:
    """Run processes on a host and follow them: every byte, how they ended, and why.

    These options go before the command, or after it. The environment may replace them: JW_ADDRESS, JW_TOKEN, JW_CA,
    JW_CERT, JW_KEY, JW_PIN, JW_INSECURE=1, JW_CONTEXT. Without them and without a context in use, `jw` uses the
    local agent and starts it on first use.
    """
    if color not in COLOURS:
        raise UsageError(f"--color: {color[:40]!r}; expected auto, always or never")
    output.colours.wanted = COLOURS[color]
    if debug:
        from jobworker_cli.debug import begin

        begin(token)
    from jobworker.client.endpoint import Endpoint  # slow to import, and `jw --version` needs none
    from jobworker_cli.endpoint import choose

    ctx.obj = choose(Endpoint(address, token, ca, cert, key, pin, insecure), context)
