"""Write the manual page jw(1) from the declarations of the commands, to stdout."""

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from jobworker_cli import commands, parse
from jobworker_cli.declare import Group, Option
from jobworker_cli.root import choose_agent

SECTIONS = {
    "FILES": {
        "/etc/jobworker/config.toml": "The configuration of the agent, where a package of the host installed it.",
        "/var/lib/jobworker": "The state folder of the agent of root: jobs, their logs, its certificate authority.",
        "~/.local/state/jobworker": "The state folder of the agent of another user.",
        "~/.config/jobworker/contexts.json": "Agents of other hosts, see jw context.",
    },
    "ENVIRONMENT": {
        "JOBWORKER_HOME": "The state folder of the local agent.",
        "JW_ADDRESS, JW_TOKEN, JW_CA, JW_PIN, JW_CERT, JW_KEY, JW_CONTEXT": "As the options of these names.",
        "NO_COLOR": "Do not colour the output.",
    },
}


def quoted(text: str) -> str:
    """Return text as troff takes it: a backslash, a hyphen, and a control character at the begin of a line."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    text = text.replace("…", "...").replace("^", "\\(ha").replace("~", "\\(ti")
    return "\n".join(f"\\&{line}" if line[:1] == "." else line for line in text.splitlines())


def paragraphs(text: str) -> Iterator[str]:
    for number, each in enumerate(text.split("\n\n")):
        if number:
            yield ".PP"
        yield quoted("\n".join(line.strip() for line in each.splitlines()))


def item(names: str, text: str) -> list[str]:
    return [".TP", f".B {quoted(names)}", quoted(text)]


def parameters(function: Callable[..., Any]) -> Iterator[str]:
    """Yield an item for each argument and option."""
    for each in parse.parameters(function):
        if not isinstance(each.declared, Option):
            yield from item(each.declared.metavar, each.declared.help)
            continue
        names = ", ".join(name for name, _ in each.options() if name not in each.declared.also)
        value = each.declared.metavar or (each.kind.__name__ if each.takes_value else "")
        default = f" Default: {each.default}." if each.takes_value and each.default not in (None, "") else ""
        yield from item(f"{names} {value}".rstrip(), each.declared.help + default)


def command(path: list[str], found: Callable[..., Any] | Group) -> Iterator[str]:
    """Yield the section of a command and, if it is a group, those of its commands."""
    yield f".SS {quoted(' '.join(['jw', *path]))}"
    function = found.default if isinstance(found, Group) else found
    if isinstance(found, Group):
        yield quoted(found.help)
    if function is not None:
        if isinstance(found, Group):
            yield ".PP"
        yield from paragraphs(inspect.getdoc(function) or "")
        yield from parameters(function)
    for name, inner in found.commands.items() if isinstance(found, Group) else ():
        yield from command([*path, name], inner)


def page() -> str:
    day = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC).date()
    lines = [
        f'.TH JW 1 "{day}" "jobworker {version("jobworker")}" "User Commands"',
        *(".SH NAME", "jw \\- run processes on a host and follow them"),
        *(".SH SYNOPSIS", ".B jw", "[\\fIoptions\\fR] \\fIcommand\\fR [\\fIwords\\fR...]"),
        ".SH DESCRIPTION",
        *paragraphs(inspect.getdoc(choose_agent) or ""),
        ".SH OPTIONS",
        *parameters(choose_agent),
        ".SH COMMANDS",
    ]
    for name in commands.MODULES:
        lines += command([name], commands.load(name))
    for title, entries in SECTIONS.items():
        lines.append(f".SH {title}")
        for names, text in entries.items():
            lines += item(names, text)
    return "\n".join([*lines, ".SH SEE ALSO", ".BR systemctl (1),", ".BR journalctl (1)", ""])


if __name__ == "__main__":
    sys.stdout.write(page())
