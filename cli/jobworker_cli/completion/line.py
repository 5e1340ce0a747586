"""Find what may stand at the cursor of a command line, from the declarations of the commands."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jobworker_cli import commands, parse
from jobworker_cli.completion import live
from jobworker_cli.declare import Argument, Group, Option
from jobworker_cli.root import choose_agent

VALUES, MORE, FILES, FOLDERS, COMMANDS = "values", "more", "files", "folders", "commands"
Values = Sequence[tuple[str, str]]  # each with its help


class Found(NamedTuple):
    """What may stand at the cursor. The kind `more`: values after which the word goes on, as `K=`.

    `files`, `folders` and `commands` are those of this host: the shell completes them, and `values` is empty.
    """

    kind: str
    values: Values = ()


class Line:
    """The words before the cursor, read as far as they are understood.

    A command takes the options of `jw` itself too, those of `outer`.
    """

    def __init__(
        self, function: Callable[..., Any], words: Sequence[str], *, interspersed: bool, outer: "Line | None" = None
    ) -> None:
        self.declared = parse.parameters(function)
        self._outer = outer
        self.options: dict[str, parse.Parameter] = {} if outer is None else dict(outer.options)
        self.options |= {name: parameter for parameter in self.declared for name, _ in parameter.options()}
        # Values of options by the name of their parameter; of one that may be repeated, the last.
        self.given: dict[str, Any] = {}
        # The words besides options.
        self.plain: list[str] = []
        # The option whose value stands at the cursor.
        self.waiting: parse.Parameter | None = None
        # Whether no option may follow.
        self.ended = False
        # The words after the first that is no option, unless `interspersed`.
        self.rest: list[str] = []
        left = iter(words)
        for word in left:
            if not self.ended and word == "--":
                self.ended = True
            elif not self.ended and word.startswith("-") and word != "-":
                self._option(word, next(left, None) if self._needs_value(word) else "")
            elif interspersed:
                self.plain.append(word)
            else:
                self.rest = [word, *left]

    def _named(self, word: str) -> parse.Parameter | None:
        """Return the option of a word: of letters in one word, that of the last which may have a value."""
        return self.options.get(word.partition("=")[0] if word.startswith("--") else f"-{word[-1]}")

    def _needs_value(self, word: str) -> bool:
        parameter = self._named(word)
        return parameter is not None and parameter.takes_value and "=" not in word

    def _option(self, word: str, value: str | None) -> None:
        parameter = self._named(word)
        if parameter is None:
            return
        if value is None:
            self.waiting = parameter
        target = self if self._outer is None or parameter in self.declared else self._outer
        target.given[parameter.name] = (word.partition("=")[2] or value) if parameter.takes_value else True


def complete(words: Sequence[str], current: str) -> Found:
    """Return what may stand at the cursor after these words; `current` is the begin of it."""
    outer = Line(choose_agent, words, interspersed=False)
    if not outer.rest:
        names = Found(VALUES, [(name, "") for name in commands.MODULES])
        return _at_cursor(outer, current, lambda: names, [], live.Agent(outer.given))
    name, *inner = outer.rest
    name = commands.ALIASES.get(name, name)
    if name not in commands.MODULES:
        return Found(VALUES)
    function, path = commands.load(name), [name]
    if isinstance(function, Group):
        if not inner:
            found = [(word, _first_line(each)) for word, each in function.commands.items()]
            return Found(VALUES, found)
        word = commands.inner_name(function, inner.pop(0))
        if word not in function.commands:
            return Found(VALUES)
        function = function.commands[word]
        path.append(word)
    read = Line(function, inner, interspersed=name not in commands.TAKE_COMMAND, outer=outer)
    agent = live.Agent(outer.given)
    if read.rest:
        return Found(FILES)  # an argument of the job's command
    arguments = [parameter for parameter in read.declared if isinstance(parameter.declared, Argument)]

    def argument() -> Found:
        number = min(len(read.plain), len(arguments) - 1)
        if number < 0 or (len(read.plain) >= len(arguments) and not arguments[-1].many):
            return Found(VALUES)
        found = _values(arguments[number], path, current, agent)
        return found._replace(values=[value for value in found.values if value[0] not in read.plain])

    return _at_cursor(read, current, argument, path, agent)


def _at_cursor(
    read: Line, current: str, argument: Callable[[], Found], path: Sequence[str], agent: live.Agent
) -> Found:
    """Return the value of the option before the cursor, or options if the word begins so, or else an argument."""
    if read.waiting is not None:
        return _values(read.waiting, path, current, agent)
    if not read.ended and current.startswith("--") and "=" in current:
        name, _, text = current.partition("=")
        parameter = read.options.get(name)
        found = Found(VALUES) if parameter is None else _values(parameter, path, text, agent)
        return found._replace(values=[(f"{name}={value}", help_) for value, help_ in found.values])
    if read.ended or not current.startswith("-"):
        return argument()
    offered = [
        (name, parameter.declared.help)
        for parameter in read.declared
        if isinstance(parameter.declared, Option) and (parameter.many or parameter.name not in read.given)
        for name in _names(parameter, parameter.declared)
    ]
    return Found(VALUES, [*offered, ("--help", "Show all options.")])


def _names(parameter: parse.Parameter, option: Option) -> list[str]:
    """Return the long names of an option."""
    names = option.names or (f"--{parameter.name.replace('_', '-')}",)
    return [part for name in names for part in name.split("/") if part.startswith("--")]


def _values(parameter: parse.Parameter, path: Sequence[str], current: str, agent: live.Agent) -> Found:
    """Return the values that an option or an argument of a command may have."""
    metavar = (parameter.declared.metavar or "").strip("[].")
    if isinstance(parameter.declared, Argument) and metavar == "CMD":
        return Found(COMMANDS)
    if metavar == "DIR":
        return Found(FOLDERS)
    if parameter.kind is Path or metavar in ("FILE", "PATH"):
        return Found(FILES)
    if "|" in metavar and metavar.replace("|", "").isalpha():
        return Found(VALUES, [(word, "") for word in metavar.split("|")])
    if metavar == "SIG":
        return Found(VALUES, [(number.name.removeprefix("SIG"), "") for number in signal.Signals])
    if metavar == "SHELL":
        return Found(VALUES, [("bash", ""), ("zsh", ""), ("fish", "")])
    if parameter.name == "label":
        return _labels(current, agent)
    return Found(VALUES, live.values(agent, path, parameter.name, metavar, current))


def _labels(current: str, agent: live.Agent) -> Found:
    """Return the labels of live jobs; before their `=`, only the names."""
    labels = live.labels(agent)
    name, equals, _ = current.partition("=")
    if equals:
        return Found(VALUES, [(f"{name}={value}", "") for value in sorted(labels.get(name, ()))])
    return Found(MORE, [(f"{each}=", "") for each in sorted(labels)])


def _first_line(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip().partition("\n")[0]
