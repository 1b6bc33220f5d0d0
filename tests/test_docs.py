"""The documentation is true: links lead somewhere, code runs, commands exist, references are those of the code.

Pages with tests of their own are listed in RUN_ELSEWHERE.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psycopg
import pytest
import yaml
from typer.main import get_command

from benchmarks.eval import learning_svg
from sona_pg.cli.commands import app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "docker").rglob("*.md"), *(ROOT / "clients/js").glob("*.md")]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_HERE = [
    "backups", "dashboard", "embedding-models", "exactly-once", "managed-services", "money", "pgbouncer", "tenants",
    "scaling", "standby", "troubleshooting", "versions", "workers",
]  # fmt: skip
EMPTY_HERE = ("sona.gates",)  # nothing was judged
RUN_ELSEWHERE = {  # pages whose code another test reads and runs
    "README.md": "tests/test_readme.py", "clients/js/README.md": "clients/js/test/client.test.js",
    "docs/cli.md": "tests/cli/test_reference.py", "docs/erasure.md": "tests/test_docs_erasure.py",
    "docs/frameworks.md": "tests/frameworks/test_framework_examples.py", "docs/guarantees.md": "tests/test_readme.py",
    "docs/guide.md": "tests/test_readme.py", "docs/http.md": "tests/service/test_docs_http.py",
    "docs/import-export.md": "tests/transfer/test_commands.py",
    "docs/memory-graph.md": "tests/test_docs_memory_graph.py",
    "docs/roles.md": "tests/store/test_roles.py", "docs/servers.md": "tests/test_docs_servers.py",
    "docs/sql.md": "tests/store/test_sql_reference.py",
    "docs/uninstalling.md": "tests/test_docs_uninstalling.py",
    **{page.relative_to(ROOT).as_posix(): "tests/test_tutorials.py" for page in (DOCS / "tutorials").glob("*.md")},
}  # fmt: skip


def reference_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_docs", ROOT / ".ci" / "reference_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_references_are_those_of_the_code() -> None:
    for name, written in reference_docs().PAGES.items():
        assert (DOCS / name).read_text(encoding="utf-8") == written(), f"docs/{name}: run make docs-reference"


def anchors(page: Path) -> set[str]:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_the_site_has_every_page() -> None:
    text = re.sub(r"!!\S+", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = re.findall(r"([\w/.-]+\.md)$", text, re.MULTILINE)
    made = ["architecture.md", "javascript.md"]  # by the hook, from files elsewhere
    assert sorted(named) == sorted([*made, *(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))])
    settings = yaml.safe_load(text)
    assert settings["strict"]
    assert all((ROOT / hook).is_file() for hook in settings["hooks"])
    for page in DOCS.rglob("*.md"):
        if page.name != "index.md":
            assert page.relative_to(DOCS).as_posix() in (DOCS / "index.md").read_text(encoding="utf-8"), page


@pytest.mark.parametrize("name", RUN_HERE)
def test_the_blocks_of_a_page_run(name: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONA_PG_URL", database_url)
    names: dict[str, Any] = {"url": database_url}
    for language, code in BLOCK.findall((DOCS / f"{name}.md").read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(code, f"{name}.md", "exec"), names)
            if "engine" in names:
                names["engine"].close()
        elif language == "sql":
            with psycopg.connect(database_url) as connection:
                assert connection.execute(code).fetchall() or any(view in code for view in EMPTY_HERE)
        elif language in ("sh", "bash"):
            for line in code.splitlines():
                parse(line)
        else:
            assert language in ("ini", "text"), language


def test_the_code_of_every_page_is_run() -> None:
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        languages = {language for language, _ in BLOCK.findall(page.read_text(encoding="utf-8"))}
        if languages <= {"text"} or page.stem in RUN_HERE:
            continue
        test = (ROOT / RUN_ELSEWHERE[name]).read_text(encoding="utf-8")
        assert page.name in test or 'glob("*.md")' in test, f"{name} is not read by {RUN_ELSEWHERE[name]}"


def parse(line: str) -> None:
    """Fail unless a line is a command of sona-pg with options that it has."""
    words = shlex.split(line, comments=True)
    if not words:
        return
    assert words.pop(0) == "sona-pg", line
    command: Any = get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(line, words)


def test_the_errors_of_the_troubleshooting_are_those_of_the_code() -> None:
    told = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"\*\*`([^`]+)`\*\*", told)
    assert len(quoted) >= 15
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "sona_pg").rglob("*.py"))
    joined = re.sub(r'"\s*\n\s*f?"', "", source)  # a message over several lines
    spoken = re.sub(r"\{[^{}]*\}", "", joined.replace("{{", "<").replace("}}", ">"))
    for words in quoted:
        plain = words.replace("{", "<").replace("}", ">")
        assert words in joined or plain in spoken or plain in joined.replace("{{", "<").replace("}}", ">"), words


def test_figures_name_the_command_that_prints_them() -> None:
    for page in (DOCS / "tutorials").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        before = [text[: found.start()][-400:] for found in re.finditer(r"^```text\n", text, re.MULTILINE)]
        printed = [told for told in before if re.search(r"`(?:python |node )?[\w/]*0\d_[\w./ ]+", told)]
        assert printed, page.name


def test_the_site_has_files_from_elsewhere_as_pages() -> None:
    spec = importlib.util.spec_from_file_location("site_links", ROOT / ".ci" / "site_links.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    for source, wanted in (("index.md", "architecture.md"), ("tutorials/1.md", "../architecture.md")):
        page = SimpleNamespace(file=SimpleNamespace(src_uri=source))
        up = "../" * (source.count("/") + 1)
        assert hook.on_page_markdown(f"[A]({up}ARCHITECTURE.md)", page) == f"[A]({wanted})"
    page = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    assert hook.on_page_markdown("[A](../clients/js/README.md)", page) == "[A](javascript.md)"
    architecture = hook.moved(ROOT / "ARCHITECTURE.md")
    assert "](glossary.md)" in architecture
    assert "](../CONTRIBUTING.md)" in architecture
    client = hook.moved(ROOT / "clients" / "js" / "README.md")
    assert "](../README.md)" in client
    assert all(word in client for word in ("onRefused", "fileStorage", "forceLearn"))  # the site's search finds them


def test_the_learning_curve_is_drawn_from_its_figures() -> None:
    told = json.loads((DOCS / "figures" / "retrieval-test.json").read_text(encoding="utf-8"))
    drawn = (DOCS / "figures" / "learning-curve.svg").read_text(encoding="utf-8")
    assert drawn == learning_svg.picture(told), "run the command in the head of benchmarks/eval/learning_svg.py"
    final = {cell["method"]: cell["mean"] for cell in told["cells"] if cell["heading"] == "10k"}
    for page in ("README.md", "docs/measurements.md"):
        assert f"{final['sona-pg, thumbs only']:.1f}" in (ROOT / page).read_text(encoding="utf-8")
