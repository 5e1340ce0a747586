"""Plain words: the commonest lapses stay out of the pages, and out of the folders that are named here."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("plugins/*/README.md")]
    if path.name != "CHANGELOG.md"
] + [*(ROOT / "docs").rglob("*.md")]
# Folders, or files, whose docstrings and comments are held as well: add those that have been reworded.
HELD = ["docs", "tests/house/test_pages.py"]

RULES = {
    r"\b(whoever|whom|nobody|somebody|anybody)\b": "name the client, caller, plugin author or operator",
    r"^Who\b(?!.*\?$)": "'who' needs a noun before it: 'a client that'",
    r"\b(and|or|of|for|to|by|from|than) who\b": "'who' needs a noun before it: 'a client that'",
    r"^Where\b(?! to )(?!.*\?$)": "'where' is for places only: use 'if' or 'when'",
    r"\bwhere (there|it|no|none|they|that|we|such)\b": "'where' is for places only: use 'if' or 'when'",
    r"\b(hear|hears|heard|tells?|told|said)\b": "use read, send, log, report or print",
    r"\b(anew|meekest|affair|as whom)\b": "use the word that a colleague would use",
    r"\blets? go\b": "use release, or continue",
}


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a page, without code and links' targets."""
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    for line in text.splitlines():
        plain = re.sub(r"`[^`]*`", "CODE", re.sub(r"\]\([^)]*\)", "]", line))
        plain = re.sub(r"^[\s>*#|-]+|^\d+\. ", "", plain)
        yield from (sentence.strip(" |*[") for sentence in re.split(r"(?<=[.:;?!]) | \| ", plain))


def prose(path: Path) -> Iterator[str]:
    """Yield the docstrings and comments of a module."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
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
def test_docstrings_and_comments(name: str) -> None:
    place = ROOT / name
    assert place.exists()
    for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
        found = [lapse for text in prose(path) for lapse in lapses(text)]
        assert not found, f"{path.relative_to(ROOT)}: {found}"


@pytest.mark.parametrize(
    "sentence",
    [
        "Trust whoever answers.",
        "Who guesses waits.",
        "It is open; where there is none it is made.",
        "The agent is told of it.",
        "A token for who asks, or for who waits.",
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
    ],
)
def test_plain_words_pass(sentence: str) -> None:
    assert not lapses(sentence)
