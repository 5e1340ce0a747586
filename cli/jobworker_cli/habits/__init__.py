"""Put into words what is wrong with a command line: by what its author means, else by spelling if that is close."""

import shlex
import shutil
from collections.abc import Callable, Sequence

from jobworker_cli import commands
from jobworker_cli.declare import Argument
from jobworker_cli.parse import OUTPUT, NotUnderstood, Parameter

SHOWN = 60  # characters of a word in a message
Explained = tuple[str, str]


def explain(error: NotUnderstood, words: Sequence[str]) -> Explained:
    """Return what is wrong and what jobworker does instead, in a sentence, and the next command."""
    line = Line(error, words)
    explained: dict[str, Callable[[Line], Explained]] = {
        "command": _command,
        "option": _option,
        "output": _output,
        "value": _value,
        "no value": _no_value,
        "flag": _flag,
        "missing": _missing,
        "extra": _extra,
    }
    return explained[error.what](line)


class Line:
    """A command line that is wrong, and what messages and hints take from it."""

    def __init__(self, error: NotUnderstood, words: Sequence[str]) -> None:
        self.error = error
        self.word = error.word
        self.path = error.path
        self.words = [*words]
        self.command = " ".join(["jw", *error.path])
        # The words after the command, known or not.
        last = error.word if error.what == "command" else error.path[-1] if error.path else ""
        names = [word for word, name in commands.ALIASES.items() if name == last]
        found = next((number for number, word in enumerate(words) if word == last or word in names), -1)
        self.rest = self.words[found + 1 :] if last else []
        # Those besides options, and the one that is a job: after an option that takes a value, the last.
        self.jobs = [word for word in self.rest if word[:1] != "-"]
        self.job = self.jobs[-1 if error.what == "option" else 0] if self.jobs else "JOB"

    def fill(self, hint: str) -> str:
        """Return a hint with words of this line."""
        rest = self.rest[self.rest[:1] == ["--"] :]
        named = {
            "job": _quoted([self.job]),
            "jobs": _quoted(self.jobs) or "JOB",
            "rest": _quoted(rest) or ("CMD" if " -- " in hint else "JOB"),
            "more": _quoted(rest[1:][rest[1:2] == ["--"] :]) or "CMD",
            "line": _quoted(self.without_word()),
            "command": " ".join(self.path),
        }
        return hint.format_map(named)

    def without_word(self) -> list[str]:
        return [word for word in self.words if word.partition("=")[0] != self.word]


def _quoted(words: Sequence[str]) -> str:
    return " ".join(word if word in ("JOB", "CMD") else shlex.quote(word) for word in words)


def _shown(word: str) -> str:
    return repr(word if len(word) <= SHOWN else f"{word[:SHOWN]}…")


def _command(line: Line) -> Explained:
    """An unknown command."""
    from jobworker_cli.habits import verbs

    table = verbs.INNER.get(line.path[0], ()) if line.path else verbs.VERBS
    said = f"{line.command} has no command {_shown(line.word)}"
    for names, instead, hint in table:
        if line.word.lower() in names.split():
            return f"{said}: {instead}", line.fill(hint)
    near = _near(line.word.lower(), line.error.known)
    if near:
        return f"{said}; did you mean {near}?", _quoted([*line.command.split(), near, *line.rest])
    if not line.path and line.word and ("/" in line.word or shutil.which(line.word)):
        return f"{said}: a command is started with run", f"jw run -- {_quoted([line.word, *line.rest])}"
    if not line.word:
        return (
            f"{line.command}: the command is an empty word; perhaps a variable is not set",
            f"{line.command} --help",
        )
    return said, f"{line.command} --help"


def _option(line: Line) -> Explained:
    """An unknown option."""
    from jobworker_cli.habits import flags

    said = f"{line.command} has no option {line.word}"
    name = line.path[0] if line.path else ""
    for commands_, names, instead, hint in flags.FLAGS:
        if line.word in names.split() and (commands_ == "*" or name in commands_.split()):
            return f"{said}: {instead}", line.fill(hint)
    near = _near(line.word, [known for known in line.error.known if known[:2] == "--"])
    if near and line.word[:2] == "--":
        changed = [
            near + word[len(line.word) :] if word.partition("=")[0] == line.word else word for word in line.words
        ]
        return f"{said}; did you mean {near}?", f"jw {_quoted(changed)}"
    if not line.path and (found := next((word for word in line.words if word in commands.MODULES), "")):
        return f"{said}: options of {found} go after it", f"jw {found} --help"
    return said, f"{line.command} --help"


def _near(word: str, known: Sequence[str]) -> str:
    """Return the only name that begins so, else the one that is spelt most alike; "" if none is close."""
    letters = word.lstrip("-")
    begun = [name for name in known if name.startswith(word)] if len(letters) > 1 else []
    if len(begun) == 1:
        return begun[0]
    most = 1 if len(letters) <= 4 else 2
    # Of names as far from the word, one of the same letters comes first: stauts is status rather than stats.
    near = [(edits, sorted(name) != sorted(word), name) for name in known if (edits := _edits(word, name)) <= most]
    return min(near)[2] if near and len(letters) > 1 else ""


def _edits(one: str, other: str) -> int:
    """Return how many letters are to be added, left out, replaced or swapped with the next one."""
    rows: list[list[int]] = [[*range(len(other) + 1)]]
    for i, letter in enumerate(one):
        row = [i + 1]
        for j, there in enumerate(other):
            best: int = min(rows[-1][j + 1] + 1, row[-1] + 1, rows[-1][j] + (letter != there))
            if i and j and (one[i - 1], letter) == (there, other[j - 1]):
                best = min(best, rows[-2][j - 1] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


def _output(line: Line) -> Explained:
    return f"{line.command} -o: {_shown(line.word)}; expected json", f"{line.command} --json"


def _value(line: Line) -> Explained:
    """A value of another kind than expected."""
    name, _, value = line.word.partition("=")
    if line.path == ["logs"] and value in ("all", "-1"):
        return (
            f"{name}: {_shown(value)}: without it, logs prints all that is kept",
            f"jw logs {_quoted(line.words[-1:])}",
        )
    parameter = line.error.parameter
    minimum = getattr(parameter.declared, "min", None) if parameter else None
    kind = "a number" if parameter is not None and parameter.kind is float else "a whole number"
    least = "" if minimum is None else f", at least {minimum}"
    return f"{name}: {_shown(value)}; expected {kind}{least}", f"{line.command} --help"


def _no_value(line: Line) -> Explained:
    """An option without its value."""
    value = "json" if line.word in OUTPUT else _metavar(line.error.parameter)
    return f"{line.command} {line.word} needs a value: {value}", f"{line.command} {line.word} {value}"


def _flag(line: Line) -> Explained:
    """A flag with a value."""
    name, _, value = line.word.partition("=")
    return f"{name}: {_shown(value)}; expected no value", f"{line.command} {name}"


def _missing(line: Line) -> Explained:
    """A word or an option that the command needs."""
    parameter = line.error.parameter
    name = _metavar(parameter)
    if parameter is not None and not isinstance(parameter.declared, Argument):
        name = f"{next(parameter.options())[0]} {name}"
    hint = {"JOB": "jw ps -a", "JOB...": "jw ps", "CMD...": f"{line.command} -- CMD"}.get(name)
    if line.path == ["top"]:
        hint = "jw stats"
    return f"{line.command}: {name} is missing", hint or f"{line.command} --help"


def _extra(line: Line) -> Explained:
    """A word too many."""
    said = f"{line.command}: {_shown(line.word)} is a word too many"
    if line.path == ["ps"]:
        every = line.word.lstrip("-") in ("a", "aux", "ax", "axu", "ef", "all", "jobs", "job", "pods")
        return (said, "jw ps -a") if every else (f"{said}: ps lists all jobs", f"jw status {_quoted([line.word])}")
    if line.path and line.path[0] in ("status", "explain", "top", "attach", "wait"):
        return f"{said}; expected one JOB", f"{line.command} {_quoted([line.word])}"
    return said, f"{line.command} --help"


def _metavar(parameter: Parameter | None) -> str:
    if parameter is None:
        return "VALUE"
    return parameter.declared.metavar or parameter.name.upper()
