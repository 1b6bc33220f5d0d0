"""The table of `make bench`: a line without a measurement does not count as reached."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from benchmarks import node_peer  # noqa: E402
from benchmarks.bench_calls import beside_npm  # noqa: E402
from benchmarks.report import Line, Options, markdown  # noqa: E402


def test_a_line_shows_whether_its_target_was_reached_or_not_measured() -> None:
    assert Line("a", "1", target="2", reached=True).cells()[-1] == "yes"
    assert Line("a", "3", target="2", reached=False).cells()[-1] == "NO"
    assert Line("a", "", target="2").cells()[-1] == "not measured"
    assert Line("a", "3").cells()[-1] == ""


def test_lines_are_kept_for_the_table_whatever_numbers_they_hold(tmp_path: Path) -> None:
    results = tmp_path / "lines"
    options = Options(None, tmp_path, 1.0, results)
    options.emit(Line("a", "1 µs", "NumPy 2 µs", np.float32(0.5), "faster", np.bool_(True)))  # type: ignore[arg-type]
    [line] = [Line(**json.loads(text)) for text in results.read_text().splitlines()]
    assert "| a | 1 µs | NumPy 2 µs | 0.500 | faster | yes |" in markdown([line], "machine")


def test_without_node_the_row_gives_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    node_peer.measured.cache_clear()
    monkeypatch.setattr("shutil.which", lambda tool: None)
    line = beside_npm("apply", 1e-7, "apply", "Node / 250", 1 / 250)
    assert line.beside == "NOT RUN: node is not installed"
    assert line.cells()[-1] == "not measured"
