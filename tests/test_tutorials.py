"""The tutorials run, learn, and their pages show their code."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import httpx
import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from sona_pg import LoopConfig, SonaConfig, Store
from sona_pg.cli.commands import app
from sona_pg.demo.helpdesk import helpdesk_json
from sona_pg.service import ServiceOptions, create_app
from tests.service.site import Site
from tests.test_docs_servers import served

ROOT = Path(__file__).parent.parent
TUTORIALS = ROOT / "examples" / "tutorials"
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
NODE = shutil.which("node")
Load = Callable[[str], ModuleType]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def load(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Load a tutorial's program, which will use the test's database."""
    monkeypatch.setenv("SONA_PG_URL", database_url)
    return lambda name: load_module(monkeypatch, name)


def load_module(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tutorial_{name}", TUTORIALS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    spec.loader.exec_module(module)
    return module


def test_the_first_application_knows_at_its_second_run_what_it_learned(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        load("01_first_application").main()
    told = capsys.readouterr().out
    before, far, after, near, again, still, *_ = map(int, re.findall(r"(?:before:|after:|model,) (\d+)", told))
    assert before < 120
    assert min(after, again) >= 190
    assert far < 140
    assert min(near, still) >= 180


def test_the_chatbot_answers_more_after_thumbs(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("wordllama", reason="the tutorial embeds text: extra demo")
    load("02_adaptive_chatbot").main(most=150)
    before, thumbs, cycle = (int(share) for share in re.findall(r"(\d+)%", capsys.readouterr().out))
    assert before < 40
    assert min(thumbs, cycle) > before + 20


def test_the_router_beats_every_fixed_model(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    load("03_llm_router").main(count=600)
    worth = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()[1:]]
    assert len(worth) == 5
    assert max(worth[:3]) < worth[4]


def test_the_browsers_lesson_is_learned(database_url: str) -> None:
    if NODE is None:
        assert "REQUIRE_NODE" not in os.environ, "node is missing"
        pytest.skip("node is not installed")
    with Store(database_url) as store:
        site = Site(store, ServiceOptions(space="colours", dim=8))
        try:
            told = run_node("04_browser/lesson.mjs", site.url)
        finally:
            site.close()
    before, after = map(int, re.findall(r"(?:before|after): (\d+)", told))
    assert (before, after > 120) == (0, True)


PAGE = """
const told = {};
globalThis.document = {
  getElementById: (id) => (told[id] ??= { style: {}, append() {}, addEventListener() {} }),
  createElement: () => ({ addEventListener() {} }),
};
globalThis.location = { search: "?service=http://127.0.0.1:9" };
globalThis.localStorage = { getItem: () => null };
import(process.argv[1]);
const looked = setInterval(() => {
  if (!told.figure?.textContent) return;
  console.log(told.figure.textContent);
  process.exit(0);
}, 5);
"""


def test_the_browsers_page_says_that_the_service_is_away() -> None:
    if NODE is None:
        assert "REQUIRE_NODE" not in os.environ, "node is missing"
        pytest.skip("node is not installed")
    page = TUTORIALS / "04_browser" / "page.mjs"
    done = subprocess.run([NODE, "--eval", PAGE, page], capture_output=True, text=True, timeout=60, check=False)
    assert "the service at http://127.0.0.1:9 does not answer" in done.stdout, done.stderr


def test_the_backend_answers_better_after_corrections(load: Load) -> None:
    pytest.importorskip("wordllama", reason="the tutorial embeds text: extra text")
    rows = json.loads(helpdesk_json())["answers"][:10]
    with served(load("05_http_backend").app) as client:

        def answered(query: str) -> dict[str, str]:
            return client.post("/api/query", json={"query": query}).raise_for_status().json()

        before = sum(answered(row["lessons"][0])["answer"] == row["answer"] for row in rows)
        for row in rows:
            rating = {"id": answered(row["lessons"][0])["id"], "correction": row["answer"]}
            client.post("/api/feedback", json=rating).raise_for_status()
        assert client.post("/api/learn").json()["version"] == 1
        after = sum(answered(row["lessons"][0])["answer"] == row["answer"] for row in rows)
        assert client.get("/api/stats").json()["version"] == 1
        assert client.post("/api/query", json={"query": ""}).status_code == 422
        given = answered(rows[0]["lessons"][0])["id"]
        for wrong in ({}, {"correction": ""}, {"correction": "of another help desk"}):
            refused = client.post("/api/feedback", json={"id": given} | wrong)
            assert (refused.status_code, list(refused.json())) == (422, ["detail"]), wrong
        if NODE is not None:
            assert re.search(r"after: \d+ of 6", run_node("05_http_client.mjs", str(client.base_url), "3"))
    assert after > before


def test_the_production_drill_restores_what_was_learned(
    database_url: str, load: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*words: str) -> None:
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (words, done.output)

    @contextmanager
    def server() -> Iterator[httpx.Client]:
        options = ServiceOptions(space="production", dim=16, config=SonaConfig(loops=LoopConfig(automatic=False)))
        with Store(database_url) as store, served(create_app(store, options)) as client:
            yield client

    load("06_production").drill(tmp_path, command, server)
    told = re.findall(r"(\w+): (\d+) of 20", capsys.readouterr().out)
    assert [moment for moment, _ in told] == ["before", "after", "restored"]
    before, after, restored = (int(right) for _, right in told)
    assert (before, after >= 18, restored) == (0, True, after)


def test_the_drill_runs_the_installed_command_in_a_folder_with_other_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a clone's root with the package installed elsewhere, the clone's sources have no compiled modules."""
    sources = tmp_path / "sona_pg"
    sources.mkdir()
    (sources / "__init__.py").write_text("raise ImportError('not these')")
    command = load_module(monkeypatch, "06_production").COMMAND
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "doctor" in done.stdout


PRODUCTION = ROOT / "docker" / "production"


def test_workers_compute_on_one_thread_each() -> None:
    """Threads of several workers would wait for one another by turning in circles."""
    compose = yaml.safe_load((PRODUCTION / "compose.yaml").read_text())
    worker = compose["services"]["worker"]["environment"]
    assert (worker["OPENBLAS_NUM_THREADS"], worker["SONA_PG_MIGRATE"]) == ("1", "check")
    unit = (PRODUCTION / "systemd" / "sona-pg-worker@.service").read_text()
    assert "OPENBLAS_NUM_THREADS=1" in unit


def test_the_page_of_production_names_users_and_files_of_the_units() -> None:
    told = (ROOT / "docs" / "tutorials" / "6-production.md").read_text(encoding="utf-8")
    for unit in (PRODUCTION / "systemd").iterdir():
        for name in re.findall(r"^(?:User|EnvironmentFile)=(\S+)$", unit.read_text(), re.MULTILINE):
            assert f"`{name}`" in told, (unit.name, name)


def test_every_command_of_the_deployment_exists() -> None:
    compose = yaml.safe_load((PRODUCTION / "compose.yaml").read_text())
    told = [service["command"] for service in compose["services"].values() if service.get("image") == "sona-pg"]
    lines = [" ".join(words) for words in told if words[0] in ("serve", "worker", "db")]
    for text in (*(words[0] for words in told), *(unit.read_text() for unit in (PRODUCTION / "systemd").iterdir())):
        text = text.replace("$(date +%%F)", "today").replace("$$(date +%F)", "today")
        lines += re.findall(r"sona-pg ((?:maintain|dump|serve|worker) [^;&\n]+)", text)
    assert len(lines) >= 9
    for line in lines:
        words = shlex.split(line.replace("%i", "8701"))
        command: Any = get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(line, words)
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            known = compose["volumes"] if not source.startswith(".") else [source]
            assert source in known, volume
            assert source in compose["volumes"] or (PRODUCTION / source).is_file(), volume
    assert {"server-1", "server-2"} <= compose["services"].keys()
    assert compose["services"]["worker"]["deploy"]["replicas"] == 2
    targets = yaml.safe_load((PRODUCTION / "prometheus.yml").read_text())["scrape_configs"][0]["static_configs"][0]
    assert {target.partition(":")[0] for target in targets["targets"]} <= compose["services"].keys()


def run_node(name: str, *arguments: str) -> str:
    assert NODE is not None
    done = subprocess.run([NODE, TUTORIALS / name, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_is_that_of_its_tutorial(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    sources = [
        (page.parent / link).resolve() for link in re.findall(r"\]\((\.\./\.\./(?:examples|docker)/[^)#]+)\)", text)
    ]
    lines = {line.strip() for source in sources for line in source.read_text(encoding="utf-8").splitlines()}
    blocks = [dedent(code) for language, code in BLOCK.findall(text) if language not in ("sh", "text")]
    assert blocks
    for line in filter(None, (line.strip() for block in blocks for line in block.splitlines())):
        assert line in lines, f"{page.name}: {line!r} is not in {[source.name for source in sources]}"
