"""Read a command line that is right, without typer: help, and what is wrong with the others, is left to typer.

What is accepted here means what typer would make of it; a test holds both to that.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Any

from jobworker_cli.declare import Argument, Context, Option

TRUE, FALSE = True, False


class NotUnderstood(Exception):
    """Help is asked for, or something is wrong or unusual."""


class Parameter:
    """One parameter of a command: how it is given, and as what."""

    def __init__(self, name: str, annotation: Any, default: Any, *, required: bool) -> None:
        self.name = name
        self.default = default
        self.required = required
        self.declared: Option | Argument = annotation.__metadata__[0]
        kind = annotation.__origin__
        if isinstance(kind, UnionType):  # of a type and None
            kind = kind.__args__[0]
        # Whether it may be given several times, or takes all words.
        self.many = getattr(kind, "__origin__", None) is list
        self.kind: type = kind.__args__[0] if self.many else kind
        self.counts = isinstance(self.declared, Option) and self.declared.count
        self.takes_value = self.kind is not bool and not self.counts

    def options(self) -> Iterator[tuple[str, bool]]:
        """Yield the names of an option, each with the value that it gives to a flag."""
        if isinstance(self.declared, Option):
            for name in self.declared.names or (f"--{self.name.replace('_', '-')}",):
                on, _, off = name.partition("/")
                yield on, TRUE
                if off:
                    yield off, FALSE

    def value(self, text: str) -> Any:
        """Return the value that a text stands for."""
        if self.kind is int:
            if not (text.isascii() and text.removeprefix("-").isdigit()):
                raise NotUnderstood
            number = int(text)
            if isinstance(self.declared, Option) and self.declared.min is not None and number < self.declared.min:
                raise NotUnderstood
            return number
        if self.kind is float:
            try:
                return float(text)
            except ValueError:
                raise NotUnderstood from None
        return Path(text) if self.kind is Path else text


def parameters(function: Callable[..., Any]) -> list[Parameter]:
    """Return the parameters of a command besides its context."""
    function = getattr(function, "__wrapped__", function)
    code, defaults = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount]
    required = len(names) - len(defaults)
    values = [None] * required + [*defaults]
    return [
        Parameter(name, function.__annotations__[name], value, required=number < required)
        for number, (name, value) in enumerate(zip(names, values, strict=True))
        if function.__annotations__[name] is not Context
    ]


def takes_context(function: Callable[..., Any]) -> bool:
    return Context in getattr(function, "__wrapped__", function).__annotations__.values()


def read(
    function: Callable[..., Any], words: Sequence[str], *, interspersed: bool = True
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of all parameters, and the words left over; raise NotUnderstood.

    Unless `interspersed`, the first word that is no option ends the options.
    """
    declared = parameters(function)
    options = {name: (parameter, value) for parameter in declared for name, value in parameter.options()}
    given: dict[str, Any] = {}
    rest: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            rest += left
        elif word[:1] != "-" or word == "-":
            rest.append(word)
            if not interspersed:
                rest += left
        elif word[:2] == "--":
            name, equals, text = word.partition("=")
            _give(given, options, name, text if equals else None, left)
        else:
            _read_letters(given, options, word[1:], left)
    _give_words(given, [parameter for parameter in declared if isinstance(parameter.declared, Argument)], rest)
    if any(parameter.required and parameter.name not in given for parameter in declared):
        raise NotUnderstood
    return {parameter.name: given.get(parameter.name, parameter.default) for parameter in declared}, rest


Options = dict[str, tuple[Parameter, bool]]


def _read_letters(given: dict[str, Any], options: Options, letters: str, left: Iterator[str]) -> None:
    """Read flags of one letter each, the last of which may take a value: -aq, -n5, -n 5."""
    for position, letter in enumerate(letters, 1):
        parameter, _ = options.get(f"-{letter}") or _not_understood()
        if not parameter.takes_value:
            _give(given, options, f"-{letter}", None, left)
        else:
            _give(given, options, f"-{letter}", letters[position:] or None, left)
            return


def _give(given: dict[str, Any], options: Options, name: str, text: str | None, left: Iterator[str]) -> None:
    """Set an option to its value, which is the next word if there is no text."""
    parameter, flag = options.get(name) or _not_understood()
    if not parameter.takes_value:
        if text is not None:
            raise NotUnderstood
        given[parameter.name] = given.get(parameter.name, 0) + 1 if parameter.counts else flag
        return
    if text is None:
        text = next(left, "-")
        if text[:1] == "-":  # perhaps the value was forgotten
            raise NotUnderstood
    value = parameter.value(text)
    if parameter.many:
        given.setdefault(parameter.name, []).append(value)
    else:
        given[parameter.name] = value


def _give_words(given: dict[str, Any], arguments: Sequence[Parameter], rest: list[str]) -> None:
    """Move the words that are arguments from `rest` to their values."""
    for argument in arguments:
        if not rest:
            return
        if argument.many:
            given[argument.name] = [argument.value(word) for word in rest]
            rest.clear()
        else:
            given[argument.name] = argument.value(rest.pop(0))


def _not_understood() -> Any:
    raise NotUnderstood
