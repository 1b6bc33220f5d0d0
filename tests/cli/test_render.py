"""Tables fit the terminal; a pipe, or --json, gets JSON."""

from __future__ import annotations

import json
import re
import sys

import pytest

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
