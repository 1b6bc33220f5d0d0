"""The commands import and export: exit codes, summaries, and docs/import-export.md, which is true."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sona_pg.cli.commands import app
from sona_pg.cli.main import exit_status
from sona_pg.transfer.importing import _Import

TEXT = (Path(__file__).parent.parent.parent / "docs" / "import-export.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
GOOD = '{"id": "a", "started_at": "2026-10-05T12:00Z", "embedding": [1, 2]}\n'


@pytest.fixture
def folder(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("SONA_PG_URL", database_url)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return CliRunner().invoke(app, words)


def test_the_docs_commands_work_on_the_docs_files(folder):
    ran = 0
    for language, code in BLOCKS:
        if language != "sh":
            (folder / f"logs.{language}").write_text(code)
            continue
        for line in code.splitlines():
            done = run(*line.split()[1:])
            assert done.exit_code == 0, f"{line}: {done.output}{done.exception}"
            ran += 1
    assert ran == 11
    written = gzip.decompress((folder / "trajectories.jsonl.gz").read_bytes())
    rows = [json.loads(line) for line in written.splitlines()]
    assert [row["route"] for row in rows] == ["small", "small", "track", "large", "large"]
    assert rows[4]["context"] == ["user:44", "beta"]
    for name in rows[0].keys() | rows[2].keys():
        assert f"`{name}`" in TEXT, name


def test_exit_codes_tell_how_an_import_went(folder):
    (folder / "good").write_text(GOOD)
    (folder / "mixed").write_text(GOOD + "{}\n")
    (folder / "bad").write_text("{}\n")
    (folder / "empty").write_text("")
    assert run("import", "good").exit_code == 2  # there is no space
    codes = [run("import", name, "--dim", "2").exit_code for name in ("good", "mixed", "bad", "empty", "missing")]
    assert codes == [0, 1, 2, 2, 2]
    assert run("import", "good", "--dim", "3").exit_code == 2
    assert run("import", "good", "--at", "noon").exit_code == 2
    told = json.loads(run("import", "mixed").stdout)
    assert (told["rows"], told["known"], told["recorded"], told["rejected"]) == (2, 1, 0, 1)
    assert told["rejects"] == "mixed.rejects.jsonl"


SURVEY = """Question;Model;Stars;Asked
Where is it?;small;4;14.10.2026 09:30
Cancel!;large;2;2026-10-14T09:31
Bad;large;9;2026-10-14
"""
MAPPED = ["--map", "Question=text", "--map", "Model=route", "--map", "Stars=quality", "--map", "Asked=started_at"]


def test_a_survey_is_imported_by_its_own_headings_scale_and_times(folder):
    (folder / "survey.csv").write_text(SURVEY)
    told = ["import", "survey.csv", "--space", "survey", *MAPPED, "--scale", "1:5", "--timezone", "Europe/Berlin"]
    unknown = run(*told)
    assert unknown.exit_code == 2
    assert "add --dim 256" in unknown.output
    done = run(*told, "--dim", "256")
    assert (done.exit_code, json.loads(done.stdout)["recorded"]) == (1, 2)
    (refused,) = [json.loads(line) for line in (folder / "survey.csv.rejects.jsonl").read_text().splitlines()]
    assert refused["reason"] == "quality is '9', expected a number from 1 to 5"
    rows = [json.loads(line) for line in run("export", "--space", "survey").stdout.splitlines()]
    assert [(row["query"], row["route"], row["quality"]) for row in rows] == [
        ("Where is it?", "small", 0.75), ("Cancel!", "large", 0.25)
    ]  # fmt: skip
    assert [row["started_at"][:19] for row in rows] == ["2026-10-14T07:30:00", "2026-10-14T07:31:00"]


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (["--map", "Question"], "HEADING=FIELD"),
        (["--map", "Question=words"], "no field of an import"),
        (["--scale", "5"], "LOW:HIGH"),
        (["--scale", "5:1"], "is empty"),
        (["--timezone", "Mars"], "Europe/Berlin"),
        (["--delimiter", "ab"], "one character"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(folder, option, reason):
    (folder / "good.csv").write_text(SURVEY)
    done = run("import", "good.csv", "--dim", "2", *option)
    assert done.exit_code == 2
    assert reason in done.output


def test_an_export_without_a_file_goes_to_standard_output(folder):
    (folder / "good").write_text(GOOD)
    run("import", "good", "--dim", "2")
    (row,) = run("export", "--with-embeddings").stdout.splitlines()
    assert json.loads(row)["embedding"] == [1, 2]
    assert run("export", "pairs").stdout == ""
    assert exit_status(run("export", "--space", "none").exception) == 1
    assert exit_status(run("export", "--output", "no/folder.jsonl").exception) == 2


def test_an_export_named_csv_is_csv_that_an_import_reads(folder):
    rows = [
        '{"id": "a", "started_at": "2026-10-05T12:00Z", "embedding": [1, 2], "query": "one, \\"two\\"\\nthree", '
        '"route": "r", "quality": 0.25, "context": ["user:1"], "parameters": {"k": 2}, "steps": [{"reward": 1, '
        '"activations": [1, 2]}], "decision": {"propensity": 0.5}, "candidates": "all", '
        '"feedback": [{"source": "judge", "quality": 0.5}]}',
        '{"id": "b", "started_at": "2026-10-05T12:01Z", "embedding": [2, 1]}',
    ]
    (folder / "logs.jsonl").write_text('{"candidate": "r", "embedding": [1, 0]}\n' + "\n".join(rows))
    assert run("import", "logs.jsonl", "--dim", "2").exit_code == 0
    wanted = run("export", "--with-embeddings").stdout
    for name in ("told.csv", "told.csv.gz"):
        assert run("export", "candidates", "--output", f"candidates-{name}").exit_code == 0
        assert run("export", "--with-embeddings", "--output", name).exit_code == 0
        space = f"from {name}"
        for path in (f"candidates-{name}", name):
            done = run("import", path, "--space", space, "--dim", "2")
            assert done.exit_code == 0, done.output
        assert run("export", "--with-embeddings", "--space", space).stdout == wanted
    assert (folder / "told.csv").read_text().startswith("id,started_at,query,")


def test_a_stopped_import_says_how_to_go_on(folder, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    (folder / "good").write_text(GOOD)
    monkeypatch.setattr(_Import, "_record", stopped)
    done = run("import", "good", "--dim", "2")
    assert (done.exit_code, done.stderr) == (3, "sona-pg: stopped: run the same command again, and it goes on\n")
