"""Plain words: the commonest lapses stay out of pages, docstrings, comments and messages."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("plugins/*/README.md")]
    if path.name != "CHANGELOG.md"
] + [*(ROOT / "docs").rglob("*.md")]
# Folders, or files, whose docstrings, comments and messages are held as well.
HELD = ["agent", "cli", "plugins", "docs", "tests/house/test_pages.py"]
TEMPLATES = sorted((ROOT / "cli/jobworker_cli/skeleton/files").glob("*.txt"))
MESSAGE_WORDS = 3  # a string with fewer words is a name, a key or a format

RULES = {
    r"\b(whoever|whom|nobody|somebody|anybody)\b": "name the client, caller, plugin author or operator",
    r"^[Ww]ho\b(?!.*\?$)": "'who' needs a noun before it: 'a client that'",
    r"\b(and|or|of|for|to|by|from|than) who\b": "'who' needs a noun before it: 'a client that'",
    r"^Where\b(?! to )(?!.*\?$)": "'where' is for places only: use 'if' or 'when'",
    r"\bwhere (there|it|no|none|they|that|we|such)\b": "'where' is for places only: use 'if' or 'when'",
    r"\b(hear|hears|heard|tells?(?! .* from)|told|said|says?|saying)\b": "use read, send, log, report or print",
    r"\b(anew|meekest|affair|in vain|vouch\w*|stubborn|willing)\b": "use the word that a colleague would use",
    r"\blets? (it )?go( on)?\b": "use release, or continue",
    r"\b(that|what|which|this|it) (is|are) (none|no [a-z]+)[.;:]?$": "name the case: 'if it is not a time'",
    r"\bbe had\b": "use is available, or can be read",
    r"\bbe it\b": "use whether, or if",
    r"^Nor\b": "a sentence has a subject and a verb",
}


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a page, without code and links' targets."""
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    for line in text.splitlines():
        plain = re.sub(r"`[^`]*`", "CODE", re.sub(r"\]\([^)]*\)", "]", line))
        plain = re.sub(r"^[\s>*#|-]+|^\d+\. ", "", plain)
        yield from (sentence.strip(" |*[") for sentence in re.split(r"(?<=[.:;?!]) | \| ", plain))


def messages(tree: ast.Module) -> Iterator[str]:
    """Yield the strings of a module that are sentences: errors, help texts, lines of a log; values become CODE."""
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "CODE" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            text = node.value
        if "\n" not in text and len(text.split()) >= MESSAGE_WORDS:  # several lines: a script, or a docstring
            yield text


def prose(text: str) -> Iterator[str]:
    """Yield the docstrings, messages and comments of a module."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    yield from messages(tree)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.lstrip("# ")


def lapses(text: str) -> list[str]:
    """Return each sentence that breaks a rule, with the rule."""
    return [
        f"{sentence!r}: {rule}"
        for sentence in sentences(text)
        for pattern, rule in RULES.items()
        if re.search(pattern, sentence)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page(page: Path) -> None:
    assert not lapses(page.read_text())


@pytest.mark.parametrize("name", HELD)
def test_code(name: str) -> None:
    """The docstrings, comments and messages of all modules in a folder."""
    place = ROOT / name
    assert place.exists()
    paths = [place] if place.is_file() else sorted(place.rglob("*.py"))
    found = {str(path.relative_to(ROOT)): [*map(lapses, prose(path.read_text()))] for path in paths}
    assert not {path: [*chain(*lists)] for path, lists in found.items() if any(lists)}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template(template: Path) -> None:
    """What `jw plugins new` writes for an author is held as well."""
    text = template.read_text().replace("$", "")
    parts = prose(text) if template.name.endswith(".py.txt") else [text]
    assert not [lapse for part in parts for lapse in lapses(part)]


@pytest.mark.parametrize(
    "sentence",
    [
        "Trust whoever answers.",
        "Who guesses waits.",
        "It is open; where there is none it is made.",
        "The agent is told of it.",
        "A token for who asks, or for who waits.",
        "Raise ValueError for what is none.",
        "The limit as the spec says.",
        "It is denied: who guesses waits.",
        "Keys that cannot be had.",
        "Nor is an option any good.",
    ],
)
def test_a_lapse_is_found(sentence: str) -> None:
    assert lapses(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "The folder where logs are kept.",
        "Who may do what?",
        "Run jobs as `nobody`.",
        "The agent knows who is calling.",
        "There is no such file.",
        "Pid and start tell a process from a later one.",
        "Return None if there is none.",
    ],
)
def test_plain_words_pass(sentence: str) -> None:
    assert not lapses(sentence)


def test_messages_are_read() -> None:
    """The text of an error is held, also in an f-string; a name and a key are not."""
    text = "raise ValueError(f'{x}: whoever sends it waits', 'no spaces', 'name', {'some key': 1})"
    assert [*messages(ast.parse(text))] == ["CODE: whoever sends it waits"]
