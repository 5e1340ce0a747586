"""`jw`: read the command line, run the command, exit with its code."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from jobworker_cli import commands, failures, left_raw, output, parse
from jobworker_cli.declare import Context, Group, UsageError


def main() -> None:
    """Run `jw` and exit with its code."""
    output.write_whole()
    words = sys.argv[1:]
    if words[:1] == ["__complete"]:
        code = complete(words[1:])  # in a terminal that the shell has made raw
    else:
        if words[:1] != ["doctor"]:  # which mends it
            left_raw.hint()
        code = run(words)
    os._exit(code)  # nothing is buffered, and there is nothing to clean up


def complete(words: Sequence[str]) -> int:
    """Print what may stand at the cursor of a shell's line; return 0."""
    from jobworker_cli import completion  # seldom needed

    completion.main(words)
    return 0


def run(words: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    failures.settings.as_json = _wants_json(words)
    try:
        return find(words)() or 0
    except parse.NotUnderstood as error:
        from jobworker_cli import habits  # seldom needed, as the next one

        return failures.usage(*habits.explain(error, words))
    except UsageError as error:
        return failures.usage(error.message, f"{error.command} --help")
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
    asked = [number for number, word in enumerate(options) if word == "--json" or _is_output(options[number:])]
    return bool(asked) and not commands.TAKE_COMMAND & set(options[: asked[0]])


def _is_output(words: Sequence[str]) -> bool:
    """Return whether these words begin with `-o json`, in any of its forms."""
    name, equals, text = words[0].partition("=")
    return words[0] == "-ojson" or (name in parse.OUTPUT and (text if equals else "".join(words[1:2])) == "json")


def find(words: Sequence[str]) -> Callable[[], Any]:
    """Return the call that a command line means; raise NotUnderstood."""
    from jobworker_cli.root import choose_agent

    path: list[str] = []  # the words of the command
    line = parse.Line()
    try:
        outer, words = line.read(choose_agent, words, interspersed=False)
        if outer.get("version"):
            return partial(_version, outer)
        function, words = _command(words, path)
        given, left = line.read(function, words, interspersed=path[0] not in commands.TAKE_COMMAND)
        if outer.get("version"):
            return partial(_version, outer)
        if left:
            raise parse.NotUnderstood("extra", left[0])
        values = parse.values(function, given)
        if outer.pop("json_", False):
            if "json_" not in values:
                raise parse.NotUnderstood("option", "--json")
            values["json_"] = True
    except parse.HelpWanted as wanted:
        return partial(_help, path, asked=wanted.asked)
    except parse.NotUnderstood as error:
        error.path, error.known = path, error.known or line.known()
        raise
    return partial(_call, partial(choose_agent, **parse.values(choose_agent, outer)), function, values, path)


def _command(words: Sequence[str], path: list[str]) -> tuple[Callable[..., Any], Sequence[str]]:
    """Return the function of a command and the words after its name, which is added to `path`; raise HelpWanted."""
    if not words:
        raise parse.HelpWanted(asked=False)
    name, *rest = words
    if name == "help":
        if rest:
            _command(rest, path)
        raise parse.HelpWanted
    name = commands.ALIASES.get(name, name)
    if name not in commands.MODULES:
        raise parse.NotUnderstood("command", name, known=[*commands.MODULES, *commands.ALIASES])
    path.append(name)
    function = commands.load(name)
    return _inner(function, rest, path) if isinstance(function, Group) else (function, rest)


def _inner(group: Group, words: Sequence[str], path: list[str]) -> tuple[Callable[..., Any], Sequence[str]]:
    """Return the same for a command of a group."""
    words = words[1:] if words[:1] == ["--"] else words
    name = commands.inner_name(group, words[0]) if words else ""
    if name in group.commands:
        path.append(name)
        return group.commands[name], words[1:]
    if group.default is not None and (not name or name[:1] == "-" or name in commands.LISTS):
        return group.default, words[1:] if name in commands.LISTS else words
    if not name or name[:1] == "-":
        raise parse.HelpWanted(asked=bool(name))
    raise parse.NotUnderstood("command", name, known=[*group.commands])


def _call(
    choose: Callable[[Context], None], function: Callable[..., Any], values: dict[str, Any], path: list[str]
) -> Any:
    """Choose the agent and call the command."""
    ctx = Context()
    ctx.params = values
    failures.settings.as_json |= bool(values.get("json_"))
    failures.settings.command = " ".join(["jw", *path])
    try:
        choose(ctx)
        return function(ctx, **values) if parse.takes_context(function) else function(**values)
    except UsageError as error:
        error.command = failures.settings.command
        raise


def _version(outer: dict[str, Any]) -> Any:
    from jobworker_cli.commands.version import version

    return version(json_=bool(outer.get("json_")))


def _help(path: Sequence[str], *, asked: bool) -> int:
    """Print help: to stdout if it was asked for."""
    from jobworker_cli import typed  # slow to import

    return typed.show_help(path, asked=asked)
