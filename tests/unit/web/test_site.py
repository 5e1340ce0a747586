"""The answers to requests for the page and its files."""

import gzip
from pathlib import Path

import pytest

from jobworker.web import files
from jobworker.web.site import Answer, Site

SCRIPT = b"// a script\n" * 100


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "app").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>page</title>")
    (tmp_path / "app" / "main.js").write_bytes(SCRIPT)
    (tmp_path / "app" / "LICENSE").write_text("not served")
    (tmp_path / "app" / "package.json").write_text("{}")
    return Site(files.read(tmp_path))


def get(site: Site, path: str, method: str = "GET", *, accept: str = "", known: str = "") -> Answer:
    return site.answer(method, path, {"Accept-Encoding": accept, "If-None-Match": known})


def test_the_page_and_its_files(site: Site) -> None:
    """With their types, and headers that let them load nothing from elsewhere."""
    for path, type_ in (
        ("/", "text/html; charset=utf-8"),
        ("/?a=b", "text/html; charset=utf-8"),
        ("/index.html", "text/html; charset=utf-8"),
        ("/app/main.js", "text/javascript; charset=utf-8"),
    ):
        status, headers, body = get(site, path)
        assert (status, headers["Content-Type"]) == (200, type_), path
        assert headers["Content-Length"] == str(len(body))
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        *("", "index.html", "*", "/app", "/app/", "//", "/.", "/..", "/../index.html", "/app/../index.html"),
        *(
            "/app/%2e%2e/index.html",
            "/%69ndex.html",
            "/app//main.js",
            "/app/main.js/",
            "/app\\main.js",
            "/APP/MAIN.JS",
        ),
        *("/app/LICENSE", "/app/package.json", "/etc/passwd", "//etc/passwd", "https://evil.example/", "/\0"),
        "/" + "x" * 8000,
    ],
)
def test_no_other_path_is_served(site: Site, path: str) -> None:
    """Nothing is decoded or normalised, and only files of known types are there."""
    status, headers, body = get(site, path)
    assert status == 404
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert path[:200] not in body.decode() or len(path) < 10, "no answer repeats what it was asked for"


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "PROPFIND", "X" * 99]
)
def test_other_methods_are_refused(site: Site, method: str) -> None:
    status, headers, _ = get(site, "/", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_head_is_get_without_a_body(site: Site) -> None:
    for path in ("/app/main.js", "/none"):
        for accept in ("", "gzip"):
            whole, head = get(site, path, accept=accept), get(site, path, "HEAD", accept=accept)
            assert head == whole._replace(body=b"")


@pytest.mark.parametrize(
    ("accept", "compressed"),
    [
        *(("gzip", True), ("GZIP, br", True), ("br;q=1, gzip;q=0.5", True), ("gzip ; q=0.001", True)),
        *(("", False), ("br", False), ("gzip;q=0", False), ("gzip; q=0.000", False), ("x-gzip2", False)),
    ],
)
def test_gzip_where_it_is_accepted(site: Site, accept: str, compressed: bool) -> None:
    _, headers, body = get(site, "/app/main.js", accept=accept)
    assert headers["Vary"] == "Accept-Encoding"
    assert headers["Content-Length"] == str(len(body))
    assert (headers.get("Content-Encoding") == "gzip") is compressed
    assert (gzip.decompress(body) if compressed else body) == SCRIPT


def test_a_browser_that_has_the_file_gets_none(site: Site) -> None:
    """304 for the tag of the same form of the same bytes, also in a list or as a weak one; 200 for any other."""
    _, headers, _ = get(site, "/app/main.js", accept="gzip")
    tag = headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        status, sent, body = get(site, "/app/main.js", accept="gzip", known=known)
        assert (status, body) == (304, b""), known
        assert sent["ETag"] == tag
    for known in ('"other"', tag.strip('"'), ""):
        assert get(site, "/app/main.js", accept="gzip", known=known).status == 200, known
    assert get(site, "/app/main.js", known=tag).status == 200, "of the compressed form"
