"""The tutorials run, learn, and their pages show their code."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
TUTORIALS = ROOT / "examples" / "tutorials"
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
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
    before, after, again, _ = (
        int(found) for found in re.findall(r"(?:before|after): (\d+)", capsys.readouterr().out)
    )  # fmt: skip
    assert before < 120
    assert after >= 190
    assert again >= 190


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
