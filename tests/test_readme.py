"""README, guide and guarantees are true: every block of code in them runs, in order, and every command exists."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from sona_pg import SonaEngine
from sona_pg.cli.commands import app

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", ROOT / "docs" / "guide.md", ROOT / "docs" / "guarantees.md"]


def test_every_block_of_code_runs(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SONA_PG_URL", database_url)
    ran = {"python": 0, "sql": 0, "sh": 0}
    for page in PAGES:
        names: dict[str, object] = {}
        for language, code in BLOCK.findall(page.read_text(encoding="utf-8")):
            ran[language] += 1
            if language == "python":
                exec(compile(code, page.name, "exec"), names)
                continue
            with SonaEngine(256, database_url):  # a live server for the fleet's examples
                if language == "sql":
                    run_sql(database_url, code)
                else:
                    run_commands(code)
    assert ran["python"] >= 4
    assert ran["sql"] >= 1
    assert ran["sh"] >= 2
    told = capsys.readouterr().out
    assert '"version": 1' in told
    far, near = map(float, re.search(r"^([\d.]+) -> ([\d.]+)$", told, re.MULTILINE).groups())
    assert near > 2 * far  # the adapters have moved the question towards its answer
    assert "\n['where is my parcel?', 'on its way']\n" in told  # as the guide's comment has it


def run_sql(url: str, code: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in filter(None, (part.strip() for part in code.split(";"))):
            assert connection.execute(statement).fetchall(), statement


def run_commands(code: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in code.splitlines():
        words = line.split("#")[0].split()
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), line
        elif words[0] == "docker":
            names = re.findall(r"docker/\S+", line)
            assert names, line
            assert all((ROOT / name).parent.is_dir() for name in names), line
            if "upgrade" in words:  # what the container is told to do
                told = CliRunner().invoke(app, words[words.index("upgrade") + 1 :])
                assert told.exit_code == 0 or "already" in f"{told.output}{told.exception}", line
        elif words[0] != "export":
            assert words[0] == "sona-pg", line
            done = CliRunner().invoke(app, words[1:])
            assert done.exit_code == 0, f"{line}: {done.output}{done.exception}"
            assert done.output, line
