"""Tables fit the terminal; a pipe, or --json, gets JSON."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sona_pg.cli import learning_progress as learning_progress_module
from sona_pg.cli import render

ROWS = [{"name": "n" * 30, "quality": 0.5, "routes": {"a": 1}, "last": "x" * 50, "beyond": "y" * 50}]


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "64")


@pytest.mark.parametrize("wrap", [False, True])
def test_a_table_fits_the_terminal(
    wrap: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch)
    render.show_rows(ROWS, "rows", wrap=wrap)
    told = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, told.splitlines())) <= 64
    assert ("not shown: last, beyond (see --json)" in " ".join(told.split())) == (not wrap)


def test_a_long_text_takes_no_room_from_short_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch)
    rows = [{"kind": "general", "size": 12, "quality": 0.5, "verdicts": "v" * 59, "note": "short"}]
    render.show_rows(rows, "rows")
    told = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, told.splitlines())) <= 64
    assert {"general", "12", "0.500"} <= set(told.split())
    assert "v" * 23 + "…" in told


def test_small_costs_keep_their_digits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch)
    render.show_rows([{"a": 0.000404, "b": 0.01594, "c": 0.4, "d": 12.34567, "e": 0.0, "f": -0.00052}], "rows")
    told = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert {"0.000404", "0.0159", "0.400", "12.346", "0.000", "-0.000520"} <= set(told.split())


def test_a_long_cycle_shows_how_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = iter([10, 7, 2] + [0] * 100)
    told: list[tuple[int, int]] = []
    drawn = threading.Event()

    class Counted:
        def totals(self, _: object) -> dict[str, int]:
            return {"waiting": next(waiting)}

    @contextmanager
    def bar(title: str) -> Iterator[object]:
        assert title == "learning 10 trajectories"
        yield lambda done, total: (told.append((done, total)), len(told) == 2 and drawn.set())

    monkeypatch.setattr(learning_progress_module, "progress_bar", bar)
    monkeypatch.setattr(learning_progress_module, "LOOK_EVERY", 0.001)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with learning_progress_module.learning_progress(Counted(), None):  # type: ignore[arg-type]
        assert drawn.wait(5)
    assert told[:2] == [(3, 10), (8, 10)]


def test_json_is_printed_on_a_terminal_if_it_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch)
    render.force_json(True)
    render.show_rows(ROWS, "rows")
    render.show_facts(ROWS[0], "facts")
    render.force_json(False)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == ROWS * 2
    render.show_rows([], "rows")
    assert capsys.readouterr().out == "rows: none yet\n"
