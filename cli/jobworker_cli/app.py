"""`jw`: read the command line, run the command, exit with its code."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from jobworker_cli import commands, failures, output, parse
from jobworker_cli.declare import Context, Group, UsageError


def main() -> None:
    """Run `jw` and exit with its code."""
    output.write_whole()
    code = run(sys.argv[1:])
    os._exit(code)  # nothing is buffered, and there is nothing to clean up


def run(words: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    failures.settings.as_json = _wants_json(words)
    try:
        call = find(words)
        if call is None:
            from jobworker_cli import typed  # slow to import

            return typed.run()
        return call() or 0
    except UsageError as error:
        return failures.usage(error.message, error.command)
    except output.ReaderGone:
        return 0
    except KeyboardInterrupt:
        return failures.LEFT
    except Exception as error:
        return failures.report(error)


def _wants_json(words: Sequence[str]) -> bool:
    """Return whether errors are to be JSON, also if the command line is wrong.

    After `run` and `create`, --json may belong to the command of the job: it counts when the line was understood.
    """
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options and not commands.TAKE_COMMAND & set(options[: options.index("--json")])


def find(words: Sequence[str]) -> Callable[[], Any] | None:
    """Return the call that a command line means; None for help, and if it is not right as it stands."""
    from jobworker_cli.root import choose_agent

    try:
        options, rest = parse.read(choose_agent, words, interspersed=False)
        if options["version"]:
            from jobworker_cli.commands.version import version

            return version
        name, *rest = rest or [""]
        if name not in commands.MODULES:
            return None
        function, path = commands.load(name), f"jw {name}"
        if isinstance(function, Group):
            inner, *rest = rest or [""]
            if inner not in function.commands:
                return None
            function, path = function.commands[inner], f"{path} {inner}"
        values, left = parse.read(function, rest, interspersed=name not in commands.TAKE_COMMAND)
    except parse.NotUnderstood:
        return None
    return None if left else partial(_call, partial(choose_agent, **options), function, values, path)


def _call(choose: Callable[[Context], None], function: Callable[..., Any], values: dict[str, Any], path: str) -> Any:
    """Choose the agent and call the command."""
    ctx = Context()
    ctx.params = values
    failures.settings.as_json = bool(values.get("json_"))
    choose(ctx)  # what is wrong here is explained by `jw --help`
    try:
        return function(ctx, **values) if parse.takes_context(function) else function(**values)
    except UsageError as error:
        error.command = path
        raise
