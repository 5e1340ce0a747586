"""The help of `jw` as its declarations have it: it is the same with every version of click, typer and rich."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from jobworker_cli import commands, parse
from jobworker_cli.declare import Group, Option
from jobworker_cli.root import choose_agent


def declared() -> Iterator[tuple[list[str], Callable[..., Any] | Group]]:
    """Yield the words of each command with its function, or its group; `jw` itself is the first."""
    yield [], choose_agent
    for name in commands.MODULES:
        found = commands.load(name)
        yield [name], found
        for inner, function in found.commands.items() if isinstance(found, Group) else ():
            yield [name, inner], function


def page(path: list[str], found: Callable[..., Any] | Group) -> list[str]:
    """Return the help of one command as lines."""
    lines = [" ".join(["jw", *path])]
    if isinstance(found, Group):
        lines.append(f"  {found.help}")
        if found.default is None:
            return lines
        found = found.default
    lines += [f"  {line}".rstrip() for line in (inspect.getdoc(found) or "").splitlines()]
    return lines + [_line(each) for each in parse.parameters(found)]


def _line(each: parse.Parameter) -> str:
    if not isinstance(each.declared, Option):
        return f"    {each.declared.metavar}: {each.declared.help}"
    names = [name for name, _ in each.options() if name not in each.declared.also]
    metavar = each.declared.metavar or (each.kind.__name__ if each.takes_value else "")
    also = f" (also {', '.join(each.declared.also)})" if each.declared.also else ""
    default = f" [{each.default}]" if each.takes_value and each.default not in (None, "") else ""
    return f"    {', '.join(names)}{' ' * bool(metavar)}{metavar}: {each.declared.help}{default}{also}"


def texts(path: list[str], found: Callable[..., Any] | Group) -> Iterator[str]:
    """Yield what the printed help must have: each name and each sentence."""
    if isinstance(found, Group):
        yield found.help
        if found.default is None:
            return
        found = found.default
    else:
        yield from (inspect.getdoc(found) or "").split("\n\n")
    for each in parse.parameters(found):
        yield each.declared.help
        if isinstance(each.declared, Option):
            yield from (name for name, _ in each.options() if name not in each.declared.also)
