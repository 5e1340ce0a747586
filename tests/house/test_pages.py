"""The pages: links that lead somewhere, lines and tables that fit, and a reference that is what the code has."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from docs.generate import DESCRIPTIONS, TABLE, descriptions, generated

from jobworker.config import Config
from jobworker.server.dispatch import PARAMS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FOLDERS = [ROOT / name / "README.md" for name in ("agent", "cli", "plugins")]
PAGES = [
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("[!.]*/README.md"), *ROOT.glob("plugins/*/README.md")]
    if path.name != "CHANGELOG.md" and path.parent != DOCS
] + [*DOCS.rglob("*.md")]
WIDEST = 160

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def without_code(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[str]:
    text = re.sub(r"`[^`\n]*`", "", without_code(page.read_text()))
    yield from re.findall(r"\]\(([^)\s]+)\)", text)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file() or (target / "README.md").is_file(), f"{link}: there is no such file"
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


@each_page
def test_files_that_are_named_exist(page: Path) -> None:
    """A page that follows a call from file to file is wrong after a move."""
    tops = [ROOT, ROOT / "agent" / "jobworker", ROOT / "cli" / "jobworker_cli"]
    for name in re.findall(r"`([a-z_]+/[\w/-]*\w\.py)`", page.read_text()):
        assert any((top / name).is_file() for top in tops), f"{name}: there is no such file"


def test_every_page_is_in_the_table_of_contents() -> None:
    """In that of the folder, and in that of the rendered pages."""
    listed = set(links(DOCS / "README.md"))
    rendered = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS.rglob("*.md"):
        name = str(page.relative_to(DOCS))
        assert f" {name}\n" in rendered, name
        assert name in listed or name in ("README.md", "style.md"), name


@each_page
def test_lines_fit(page: Path) -> None:
    long = [line for line in page.read_text().splitlines() if len(line) > WIDEST]
    assert not long


@each_page
def test_tables_have_three_columns_at_most(page: Path) -> None:
    wide = [line for line in page.read_text().splitlines() if re.match(r"\|(-+\|){4,}$", line)]
    assert not wide


@each_page
def test_one_sentence_a_line(page: Path) -> None:
    for line in without_code(page.read_text()).splitlines():
        plain = re.sub(r"`[^`]*`", "code", line)
        assert line.startswith("|") or not re.search(r"[a-z)\]*][.?!] [A-Z`]", plain), line


def test_short_pages() -> None:
    """README is what a newcomer reads; a folder's README only points to the pages."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130
    for page in FOLDERS:
        assert len(page.read_text().splitlines()) <= 40, page


def test_the_reference_is_what_the_code_has() -> None:
    """After a change of a type: ``python docs/generate.py``."""
    for page in sorted((DOCS / "reference").glob("*.md")):
        assert generated(page.read_text()) == page.read_text(), f"{page}: run python docs/generate.py"


def test_rpc_discover_has_what_the_reference_has() -> None:
    """After a change of a table: ``python docs/generate.py``."""
    pages = [page.read_text() for page in sorted((DOCS / "reference").glob("*.md"))]
    assert json.loads(DESCRIPTIONS.read_text()) == descriptions(pages), "run python docs/generate.py"


def test_every_param_is_explained() -> None:
    page = (DOCS / "reference" / "rpc.md").read_text()
    tables = {found[2] for found in TABLE.finditer(page)}
    for method, params in PARAMS.items():
        assert f"### {method}\n" in page or f"`{method}`" in page, method
        assert not msgspec.structs.fields(params) or f"params {method}" in tables, method


def test_each_promise_has_one_file_of_tests() -> None:
    """Each section of the page on promises links to it; there is no other file in the folder."""
    page = ROOT / "docs" / "explanation" / "promises.md"
    sections = re.split(r"(?m)^## (?=\d)", page.read_text())[1:]
    files = [re.findall(r"\(\.\./\.\./tests/promises/(\w+\.py)\)", section) for section in sections]
    assert [[name.split("_")[1] for name in names] for names in files] == [[str(n)] for n in range(1, 8)]
    there = sorted(path.name for path in (ROOT / "tests" / "promises").glob("*.py"))
    assert there == [name for names in files for name in names]


def commands(group: Any, prefix: str = "") -> Iterator[str]:
    context = group.context_class(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, f"{name} ")
        else:
            yield prefix + name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of click, when typer is imported
def test_every_command_is_on_the_page() -> None:
    """In the first column, as `agent start`, `stop`."""
    import typer

    from jobworker_cli.typed import app

    page = (DOCS / "reference" / "cli.md").read_text()
    rows = re.findall(r"^\| (`[^|]*`) \|", page, re.MULTILINE)
    listed = set()
    for row in rows:
        first, *others = re.findall(r"`([^`]*)`", row)
        group = first.rpartition(" ")[0]
        listed |= {first, *(f"{group} {other}".strip() for other in others)}
    known = set(commands(typer.main.get_command(app)))
    assert {"wait", "agent start"} <= known
    assert known <= listed


@each_page
def test_configurations_are_accepted(page: Path) -> None:
    """Each TOML example is a configuration, or the project of a plugin."""
    for block in re.findall(r"^ *```toml\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE):
        table = tomllib.loads(block)
        if "project" not in table:
            msgspec.convert(table, Config)
