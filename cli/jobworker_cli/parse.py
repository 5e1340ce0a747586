"""Read a command line, without typer, which only prints help; what is wrong is put into words by `habits`.

What is accepted here means what typer would make of it; a test holds both to that. Beyond typer, each command takes
the options of `jw` itself, `-o json` for `--json`, and `--flag=false`.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Any

from jobworker_cli.declare import Argument, Context, Option

TRUE, FALSE = True, False
HELP = ("-h", "--help")
OUTPUT = ("-o", "--output")
BOOLS = {"true": True, "false": False}


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
            for name in (*(self.declared.names or (f"--{self.name.replace('_', '-')}",)), *self.declared.also):
                on, _, off = name.partition("/")
                yield on, TRUE
                if off:
                    yield off, FALSE

    def value(self, text: str) -> Any:
        """Return the value that a text stands for; raise ValueError."""
        if self.kind is int:
            if not (text.isascii() and text.removeprefix("-").isdigit()):
                raise ValueError
            number = int(text)
            if isinstance(self.declared, Option) and self.declared.min is not None and number < self.declared.min:
                raise ValueError
            return number
        if self.kind is float:
            return float(text)
        return Path(text) if self.kind is Path else text


Given = dict[str, Any]
# What an option's name stands for: its parameter, the value that it gives to a flag, and where values are kept.
Options = dict[str, tuple[Parameter, bool, Given]]


class NotUnderstood(Exception):
    """The command line is wrong.

    `what`: there is no such "option" or "command", a "value" is wrong or an option has "no value", a word is
    "missing" or one too many ("extra"), a "flag" takes no value. `path` are the words of the command.
    """

    def __init__(
        self, what: str, word: str = "", parameter: Parameter | None = None, known: Sequence[str] = ()
    ) -> None:
        super().__init__(what, word)
        self.what = what
        self.word = word
        self.parameter = parameter
        self.known = known  # the names that are possible in place of `word`
        self.path: list[str] = []


class HelpWanted(Exception):
    """Help is to be printed: `asked` for, or as the command is missing."""

    def __init__(self, *, asked: bool = True) -> None:
        super().__init__()
        self.asked = asked


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


class Line:
    """A command line, read from left to right: first the options of `jw` itself, then those of a command.

    A command takes the former as well, unless it has an option of that name.
    """

    def __init__(self) -> None:
        self._options: Options = {}

    def read(
        self, function: Callable[..., Any], words: Sequence[str], *, interspersed: bool = True
    ) -> tuple[Given, list[str]]:
        """Return the values given to a function, and the words left over; raise NotUnderstood or HelpWanted.

        Unless `interspersed`, the first word that is no option ends the options.
        """
        declared = parameters(function)
        given: Given = {}
        own = {name: (parameter, value, given) for parameter in declared for name, value in parameter.options()}
        self._options = self._options | own
        bare = next((each for each in declared if isinstance(each.declared, Option) and each.declared.bare), None)
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
                self._give(name, text if equals else None, left)
            elif bare is not None and (word[1].isdigit() or word[1].isupper()):
                given[bare.name] = word[1:]
            else:
                self._read_letters(word[1:], left)
        self._give_words(given, [each for each in declared if isinstance(each.declared, Argument)], rest)
        return given, rest

    def _read_letters(self, letters: str, left: Iterator[str]) -> None:
        """Read flags of one letter each, the last of which may take a value: -aq, -n5, -n 5, -n=5."""
        for position, letter in enumerate(letters, 1):
            name = f"-{letter}"
            found = self._options.get(name)
            if found is None and letter == "h":
                raise HelpWanted
            if found is None and name not in OUTPUT:
                raise NotUnderstood("option", name if position > 1 or len(letters) == 1 else f"-{letters}")
            text = letters[position:]
            if found is None or found[0].takes_value:
                self._give(name, text.removeprefix("=") if text else None, left)
                return
            if text[:1] == "=":
                self._give(name, text[1:], left)
                return
            self._give(name, None, left)

    def _give(self, name: str, text: str | None, left: Iterator[str]) -> None:
        """Set an option to its value, which is the next word if there is no text."""
        found = self._options.get(name)
        if found is None:
            if name in HELP:
                raise HelpWanted
            if name not in OUTPUT or "--json" not in self._options:
                raise NotUnderstood("option", name)
            if (text := self._next(name, left, None) if text is None else text) != "json":
                raise NotUnderstood("output", text)
            name, found, text = "--json", self._options["--json"], None
        parameter, flag, given = found
        if not parameter.takes_value:
            if text is not None and (parameter.counts or text not in BOOLS):
                raise NotUnderstood("flag", f"{name}={text}", parameter)
            if text is not None:
                flag = flag == BOOLS[text]
            given[parameter.name] = given.get(parameter.name, 0) + 1 if parameter.counts else flag
            return
        text = self._next(name, left, parameter) if text is None else text
        if name in OUTPUT and text == "json" and "--json" in self._options:
            self._give("--json", None, left)
            return
        try:
            value = parameter.value(text)
        except ValueError:
            raise NotUnderstood("value", f"{name}={text}", parameter) from None
        if parameter.many:
            given.setdefault(parameter.name, []).append(value)
        else:
            given[parameter.name] = value

    def _next(self, name: str, left: Iterator[str], parameter: Parameter | None) -> str:
        """Return the next word as a value, unless it is an option: then the value was forgotten."""
        text = next(left, None)
        if text is None or text == "--" or text.partition("=")[0] in self._options:
            raise NotUnderstood("no value", name, parameter)
        return text

    @staticmethod
    def _give_words(given: Given, arguments: Sequence[Parameter], rest: list[str]) -> None:
        """Move the words that are arguments from `rest` to their values."""
        for argument in arguments:
            if not rest:
                if argument.required:
                    raise NotUnderstood("missing", parameter=argument)
            elif argument.many:
                given[argument.name] = [argument.value(word) for word in rest]
                rest.clear()
            else:
                given[argument.name] = argument.value(rest.pop(0))

    def known(self) -> list[str]:
        """Return the options that may be given here."""
        return [*self._options]


def values(function: Callable[..., Any], given: Given) -> Given:
    """Return the values of all parameters, those that are not given by their defaults; raise NotUnderstood."""
    declared = parameters(function)
    for parameter in declared:
        if parameter.required and parameter.name not in given:
            raise NotUnderstood("missing", parameter=parameter)
    return {parameter.name: given.get(parameter.name, parameter.default) for parameter in declared}
