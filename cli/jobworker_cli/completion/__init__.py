"""Complete a command line of `jw` in a shell: the scripts of the shells call ``jw __complete SHELL WORD...``.

`line` finds what may stand at the cursor, `live` asks the agent, this module answers in the form of the shell.
"""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from jobworker_cli import output
from jobworker_cli.completion import line

SHELLS = ("bash", "zsh", "fish")
MAX_HELP_CHARACTERS = 80


def script(shell: str) -> str:
    """Return the script that makes a shell complete `jw`."""
    return (Path(__file__).parent / f"jw.{shell}").read_text(encoding="utf-8")


def main(arguments: Sequence[str]) -> None:
    """Print what may stand at the cursor: a line with its kind, then a value a line, in zsh and fish with its help.

    Arguments are the shell and the words after `jw`, up to the cursor; for bash, its line up to the cursor and
    the characters at which it breaks words. Whatever goes wrong, nothing is printed: the shell shows a prompt.
    """
    try:
        shell, *words = arguments
        lines = _for_bash(*words) if shell == "bash" else _for_others(shell, words)
        output.emit("\n".join(lines))
    except Exception:
        if os.environ.get("JW_DEBUG") == "1":
            raise


def _for_bash(text: str, breaks: str) -> list[str]:
    """Return the answer for bash, which replaces the end of the line after the last break that is not quoted."""
    words, quoted = _split(text)
    current = words.pop() if words else ""
    found = line.complete(words[1:], current)
    begin = max((current.rfind(sign) for sign in breaks if sign in "=:@"), default=-1) + 1
    values = [value for value, _ in found.values if value.startswith(current) and value.isprintable()]
    if quoted:
        return [found.kind, *(value[begin:] for value in values)]
    suffix = "" if found.kind == line.MORE else " "
    return [found.kind, *(_quoted(value)[len(_quoted(current[:begin])) :] + suffix for value in values)]


def _quoted(text: str) -> str:
    """Return a word as a shell reads it, with backslashes: quotes would stand in the middle of what was typed."""
    return "".join(f"\\{char}" if char in " \t'\"\\$`!*?[](){}<>|&;#~" else char for char in text)


def _split(text: str) -> tuple[list[str], bool]:
    """Return the words of a line, the last one being that at the cursor, and whether a quote is open there."""
    for closing in ("", "'", '"'):  # a quote may still be open
        try:
            lexer = shlex.shlex(text + closing, posix=True, punctuation_chars=";&|")
            lexer.whitespace_split, lexer.commenters = True, ""
            words = list(lexer)
            break
        except ValueError:
            continue
    else:
        words = text.split()
    starts = [number for number, word in enumerate(words) if word and not word.strip(";&|")]
    words = words[starts[-1] + 1 :] if starts else words
    return [*words, ""] if not closing and text[-1:].isspace() else words, bool(closing)


def _for_others(shell: str, words: Sequence[str]) -> list[str]:
    """Return the answer for zsh and fish, which filter it themselves."""
    *before, current = words or [""]
    found = line.complete(before, current)
    return [found.kind, *(_with_help(shell, value, text) for value, text in found.values if value.isprintable())]


def _with_help(shell: str, value: str, text: str) -> str:
    """Return a value with its help on one line."""
    text = " ".join(text.split())[:MAX_HELP_CHARACTERS]
    if shell == "zsh":
        value = value.replace("\\", "\\\\").replace(":", "\\:")
        return f"{value}:{text}" if text else value
    return f"{value}\t{text}"
