"""How commands are declared. typer, slow to import, reads the same declarations for help and for what is wrong."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Option:
    """An option, as metadata of a parameter: its names, of a flag that can be turned off as `--on/--off`.

    `also` are names that other programs use, which help does not list.
    """

    def __init__(
        self,
        *names: str,
        metavar: str | None = None,
        help: str = "",  # noqa: A002
        min: int | None = None,  # noqa: A002
        count: bool = False,
        also: Sequence[str] = (),
        bare: bool = False,
    ) -> None:
        self.names = names
        self.metavar = metavar
        self.help = help
        self.min = min
        self.count = count  # the value is how often it is given
        self.also = also
        self.bare = bare  # -VALUE is the same, if VALUE begins with a digit or a capital


class Argument:
    """A word that is no option, as metadata of a parameter; of a list, all the words that are left."""

    def __init__(self, *, metavar: str, help: str) -> None:  # noqa: A002
        self.metavar = metavar
        self.help = help


class Context:
    """What a command gets besides its own options, as its first parameter."""

    def __init__(self) -> None:
        self.obj: Any = None  # the Choice of the agent
        self.params: dict[str, Any] = {}  # the values of all parameters, by name
        self.invoked_subcommand: str | None = None


class Group:
    """Commands under one word; `default` runs without a further word, if there is such a function."""

    def __init__(self, *, help: str) -> None:  # noqa: A002
        self.help = help
        self.commands: dict[str, Callable[..., Any]] = {}
        self.default: Callable[..., Any] | None = None

    def command(self, name: str | None = None) -> Callable[[F], F]:
        """Add a function as a command, by its own name unless another is given."""

        def add(function: F) -> F:
            self.commands[name or function.__name__] = function
            return function

        return add

    def without_command(self, function: F) -> F:
        """Make a function the one that runs without a further word."""
        self.default = function
        return function


class UsageError(Exception):
    """The command line is wrong. `command` are the words whose help has more."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.command = "jw"
