"""The arguments of the tools: their types, bounds and descriptions, from which a model learns how to call them."""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from jobworker.errors import InvalidParams
from jobworker.validation import describe_error

MAX_WAIT_SECONDS = 600
MAX_INPUT = 256 << 10  # bytes of one `write`


class Arguments(Struct, forbid_unknown_fields=True, kw_only=True):
    """Arguments by name; an unknown one is refused."""


Given = TypeVar("Given", bound=Arguments)


class Nothing(Arguments):
    pass


class Run(Arguments):
    command: Annotated[
        str, Meta(description="A command line for /bin/sh, as 'make test 2>&1 | tail -50'. Give this or argv.")
    ] = ""
    argv: Annotated[
        list[str], Meta(description="The program and its arguments, executed without a shell. Give this or command.")
    ] = []
    cwd: Annotated[
        str, Meta(description="The folder to run in. Default: that of this server, for an agent on this host.")
    ] = ""
    env: Annotated[dict[str, str], Meta(description="Variables to add to its environment.")] = {}
    secrets: Annotated[
        dict[str, str],
        Meta(
            description="Variables whose values are secrets of the agent's host, as {'TOKEN': 'file:deploy'}:"
            " PROVIDER:NAME, never a value. Output has *** in their place."
        ),
    ] = {}
    secret_files: Annotated[
        dict[str, str], Meta(description="The same, in files: each variable has the path of a file with the value.")
    ] = {}
    name: Annotated[str, Meta(description="A name to find the job by, besides its id.")] = ""
    key: Annotated[
        str,
        Meta(
            description="A text of your choice, new for each command. A second call with the same key and command"
            " does not run it again, it returns the same job. Give one for what must not run twice."
        ),
    ] = ""
    wait_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=MAX_WAIT_SECONDS,
            description="How long to wait for its end. It runs on afterwards. 0 returns at once, for servers.",
        ),
    ] = 10
    timeout_seconds: Annotated[
        float, Meta(ge=0, description="A time limit: it is stopped after so long. 0: none.")
    ] = 0
    stdin: Annotated[bool, Meta(description="Keep its standard input open for the tool write.")] = False
    terminal: Annotated[
        bool,
        Meta(description="Give it a terminal, for programs that need one (top, vim, a REPL). Use write to type."),
    ] = False


class OfJob(Arguments):
    job: Annotated[str, Meta(description="The id of the job, from run or list; or its name.")]


class Wait(OfJob):
    wait_seconds: Annotated[
        float, Meta(ge=0, le=MAX_WAIT_SECONDS, description="How long to wait. 0: only look at its state.")
    ] = 30
    offset: Annotated[
        int, Meta(ge=0, description="Return its output from this offset on, as next of an earlier answer.")
    ] = 0


class Read(OfJob):
    offset: Annotated[
        int,
        Meta(
            description="The first byte to return; next of an earlier answer reads on."
            " Negative: so many bytes before the end, as -4000 for the last 4000."
        ),
    ] = 0
    stream: Annotated[
        Literal["both", "stdout", "stderr"], Meta(description="Which output; offsets count both in any case.")
    ] = "both"
    wait_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=MAX_WAIT_SECONDS,
            description="How long to wait for output at this offset if there is none yet. 0: not at all.",
        ),
    ] = 0
    encoding: Annotated[
        Literal["text", "base64"], Meta(description="base64 for the exact bytes of output that is not text.")
    ] = "text"


class Search(OfJob):
    pattern: Annotated[str, Meta(description="The text to find, or with regex true a regular expression (RE2).")]
    regex: Annotated[bool, Meta(description="pattern is a regular expression. ^ and $ match at line ends.")] = False
    ignore_case: Annotated[bool, Meta(description="Upper and lower case are the same.")] = False
    offset: Annotated[
        int, Meta(ge=0, description="The offset to begin at; next of an earlier answer searches on.")
    ] = 0
    limit: Annotated[int, Meta(ge=1, le=1000, description="How many lines to return at most.")] = 50
    stream: Annotated[Literal["both", "stdout", "stderr"], Meta(description="Which output to search.")] = "both"


class Write(OfJob):
    text: Annotated[
        str,
        Meta(description="What to write. End a line with \\n; for a terminal \\r is Enter and \\u0003 is Ctrl-C."),
    ] = ""
    offset: Annotated[
        int,
        Meta(
            ge=-1,
            description="The position of the text in its whole input, as offset of an earlier answer. The same text"
            " at the same offset again is not written twice. -1: at the end.",
        ),
    ] = -1
    end: Annotated[bool, Meta(description="End its input afterwards, as Ctrl-D does.")] = False
    wait_seconds: Annotated[
        float, Meta(ge=0, le=MAX_WAIT_SECONDS, description="How long to wait if the job does not read.")
    ] = 10


class Stop(OfJob):
    grace_seconds: Annotated[float, Meta(ge=0, description="Time between SIGTERM and SIGKILL, seconds.")] = 10


class List(Arguments):
    ended: Annotated[bool, Meta(description="Also jobs that have ended.")] = True
    limit: Annotated[int, Meta(ge=1, le=100, description="How many, newest first.")] = 20
    cursor: Annotated[str, Meta(description="next of an earlier answer, for older jobs.")] = ""


def read(kind: type[Given], raw: dict[str, Any]) -> Given:
    """Return arguments as their type; raise InvalidParams with the field, the value and what was expected.

    Models write null for what they leave out, and numbers as text.
    """
    given = {name: value for name, value in raw.items() if value is not None}
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        field, text = describe_error(str(error), given, kind)
        known = ", ".join(kind.__struct_fields__)
        raise InvalidParams(text, field=field, hint=f"the arguments are: {known}") from None


def schema(kind: type[Arguments]) -> dict[str, Any]:
    """Return the JSON Schema of arguments, without references."""
    (found,), defined = msgspec.json.schema_components([kind])
    described: dict[str, Any] = defined[found["$ref"].rpartition("/")[2]]
    described.pop("title", None)
    described.pop("description", None)  # of the class
    return described | {"properties": described.get("properties", {})}
