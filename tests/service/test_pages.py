"""Pages come whole from the package, under a strict policy, and ask no other host for anything."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sona_pg.service import ServiceOptions
from sona_pg.service.static_pages import PAGES
from tests.service.conftest import CONFIG, DIM, serving

ROOT = Path(__file__).parents[2]
FILES = sorted(path.name for path in (ROOT / "sona_pg/service/pages").iterdir())
HOST = re.compile(r"""["'(]\s*(?:https?:)?//[^"')]+""")


class Inline(HTMLParser):
    """Collects what a strict policy would refuse, and the assets that a page names."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []
        self.named: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in known):
            self.refused.append(tag)
        self.refused += [name for name in known if name == "style" or name.startswith("on")]
        self.named += [str(known[name]) for name in ("src", "href") if tag in ("script", "link") and name in known]


@pytest.mark.parametrize("path", sorted(PAGES))
def test_a_page_has_a_strict_policy_and_nothing_inline(service, path):
    page = service.get(path)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    found = Inline()
    found.feed(page.text)
    assert not found.refused
    for name in found.named:
        assert service.get(f"/{name}").status_code == 200


def test_no_page_that_is_served_names_another_host(service):
    paths = [route.path for route in service.app.routes if "GET" in (getattr(route, "methods", None) or ())]
    open_paths = [path for path in paths if "{" not in path and not path.startswith("/v1/events")]
    pages = [page for page in map(service.get, open_paths) if "text/html" in page.headers["content-type"]]
    assert sorted(page.url.path for page in pages) == sorted(PAGES)
    for page in pages:
        assert not HOST.findall(page.text), page.url
        assert "default-src 'none'" in page.headers["content-security-policy"]
    assert service.get("/redoc").status_code == 404


@pytest.mark.parametrize("name", FILES)
def test_an_asset_asks_no_other_host_and_imports_what_is_there(name):
    text = (ROOT / "sona_pg/service/pages" / name).read_text(encoding="utf-8")
    hosts = [found for found in HOST.findall(text) if "www.w3.org" not in found]
    assert not hosts
    assert "innerHTML" not in text
    imported = re.findall(r'from "\./([\w.-]+)"', text)
    assert set(imported) <= set(FILES)


def test_an_unchanged_asset_is_not_sent_again(service):
    first = service.get("/assets/style.css")
    again = service.get("/assets/style.css", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    assert service.get("/assets/../app.py").status_code == 404
    assert service.get("/assets/nothing.js").status_code == 404


def test_pages_need_no_key_and_their_figures_do(service_store):
    with serving(service_store, ServiceOptions(dim=DIM, config=CONFIG, require_keys=True)) as closed:
        assert closed.get("/").status_code == closed.get("/assets/api.js").status_code == 200
        assert closed.get("/v1/dashboard/quality").status_code == 401


def test_the_wheel_has_every_page_and_the_lessons():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for path in (ROOT / "sona_pg").rglob("*"):
        if path.suffix in (".html", ".css", ".js", ".svg", ".json"):
            package = next(
                name for name in listed if path.is_relative_to(ROOT / name.replace(".", "/")) and name != "sona_pg"
            )
            inside = path.relative_to(ROOT / package.replace(".", "/")).as_posix()
            assert any(fnmatch(inside, pattern) for pattern in listed[package]), path


def test_every_word_that_is_explained_is_in_the_glossary():
    pages = ROOT / "sona_pg/service/pages"
    known = set(re.findall(r"^  (\w+): \[", (pages / "terms.js").read_text(), re.MULTILINE))
    asked = set()
    for path in pages.glob("*.js"):
        text = path.read_text()
        asked |= set(re.findall(r'help\("(\w+)"\)', text)) | set(re.findall(r'term\((?:"[^"]*"|\w+), "(\w+)"\)', text))
    assert asked
    assert asked <= known


@pytest.mark.parametrize(
    "riddle", ["dreamt", "Wilson", "principal component", "Unlearned", "turns the query", "pruned"]
)
def test_the_pages_keep_words_of_the_trade_to_the_glossary(riddle):
    for path in (ROOT / "sona_pg/service/pages").glob("*.js"):
        if path.name != "terms.js":
            assert riddle not in re.sub(r"//.*|patterns_pruned", "", path.read_text()), path.name


INNER = re.compile(
    r"\b(trajector(?:y|ies)|cycles?|gates?|propensit(?:y|ies)|patterns?|candidates?|verdicts?|embeddings?)\b", re.I
)


def test_the_pages_speak_of_requests_and_topics_as_their_glossary_does():
    """Names of the API are in code and in the glossary alone: texts that are shown have spaces or a capital."""
    for path in (ROOT / "sona_pg/service/pages").glob("*.js"):
        if path.name == "terms.js":
            continue
        source = re.sub(r"\$\{[^{}]*\}", "", re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE))
        for text in re.findall(r'"([^"\n]*)"', source):
            shown = " " in text or text[:1].isupper()
            assert not (shown and INNER.search(text)), (path.name, text)
