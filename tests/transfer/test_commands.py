"""The commands import and export: exit codes, summaries, and docs/import-export.md, which is true."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
from pathlib import Path

import pytest

from sona_pg.cli.main import exit_status
from sona_pg.errors import InvalidValue
from sona_pg.transfer.importing import _Import
from tests.transfer.command_line import run

TEXT = (Path(__file__).parent.parent.parent / "docs" / "import-export.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
GOOD = '{"id": "a", "started_at": "2026-10-05T12:00Z", "embedding": [1, 2]}\n'


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
        (["--scale", "0:inf"], "no end"),
        (["--scale=-1e308:1e308"], "no end"),
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


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "'=1", "''@a", "+1", "-2", "\t=1", "'quoted'", "''", "＝1", "a=b"])
@pytest.mark.parametrize("excel", [[], ["--excel"]])
def test_a_text_that_a_spreadsheet_would_run_is_quoted_and_read_back(folder, text, excel):
    row = {"id": "a", "started_at": "2026-10-05T12:00Z", "embedding": [1, 2], "query": text, "quality": 0.25}
    (folder / "logs.jsonl").write_text(json.dumps(row))
    assert run("import", "logs.jsonl", "--dim", "2").exit_code == 0
    assert run("export", "--with-embeddings", "--output", "told.csv", *excel).exit_code == 0
    told = (folder / "told.csv").read_bytes()
    (cells,) = csv.DictReader(io.StringIO(told.decode("utf-8-sig")), delimiter=";" if excel else ",")
    assert told.startswith(b"\xef\xbb\xbf") is bool(excel)
    assert cells["quality"] == ("0,25" if excel else "0.25")
    assert cells["query"][0] not in "=+-@\t＝"
    done = run("import", "told.csv", "--space", "again", "--dim", "2", *(["--decimal", ","] if excel else []))
    assert done.exit_code == 0, done.output
    assert [json.loads(run("export", "--space", name).stdout)["query"] for name in ("default", "again")] == [text] * 2


@pytest.mark.parametrize("name", ["exp.xlsx", "exp.csv.zip", "exp.parquet.gz", "exp.txt.gz"])
def test_an_ending_that_is_not_written_is_refused(folder, name):
    (folder / "logs.jsonl").write_text(GOOD)
    run("import", "logs.jsonl", "--dim", "2")
    done = run("export", "--output", name)
    assert isinstance(done.exception, InvalidValue)
    assert "expected a name that ends in .csv" in str(done.exception)
    assert not (folder / name).exists()
    assert isinstance(run("export", "--excel", "--output", "exp.jsonl").exception, InvalidValue)


def test_an_export_tells_what_counts_now(folder):
    row = {"id": "a", "started_at": "2026-10-05T12:00Z", "embedding": [1, 2], "quality": 1.0}
    (folder / "logs.jsonl").write_text(json.dumps({**row, "feedback": [{"quality": 0.25}]}))
    run("import", "logs.jsonl", "--dim", "2")
    told = json.loads(run("export").stdout)
    assert (told["quality"], told["outcome"]) == (1.0, 0.25)


def test_a_stopped_import_says_how_to_go_on(folder, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    (folder / "good").write_text(GOOD)
    monkeypatch.setattr(_Import, "_record", stopped)
    done = run("import", "good", "--dim", "2")
    assert (done.exit_code, done.stderr) == (3, "sona-pg: stopped: run the same command again, and it goes on\n")


@pytest.mark.parametrize("rejects", ["logs.jsonl", "link", "notes.txt", "pipe"])
def test_rejects_never_overwrite_a_file_that_is_not_theirs(folder, rejects):
    (folder / "logs.jsonl").write_text(GOOD + "{}\n")
    (folder / "notes.txt").write_text("mine\n")
    (folder / "link").symlink_to("logs.jsonl")
    os.mkfifo(folder / "pipe")  # as /dev/null is no regular file
    done = run("import", "logs.jsonl", "--dim", "2", "--rejects", rejects)
    assert done.exit_code == 2
    assert "for the rejected rows" in done.output or "expected a new file" in done.output
    assert (folder / "logs.jsonl").read_text() == GOOD + "{}\n"
    assert (folder / "notes.txt").read_text() == "mine\n"
    assert (folder / "pipe").is_fifo()


def test_a_file_in_windows_1252_is_read_by_its_encoding_and_refused_without(folder):
    row = "Wo ist die Tür?;small;4;14.10.2026 09:30\n".encode("cp1252")
    (folder / "survey.csv").write_bytes(b"sep=;\n" + SURVEY.encode() + row)
    told = ["import", "survey.csv", "--dim", "256", *MAPPED, "--scale", "1:5", "--timezone", "UTC"]
    refused = run(*told)
    assert refused.exit_code == 2
    assert "line 6 of survey.csv is not UTF-8 (byte 0xfc): name its encoding, as in --encoding" in refused.stderr
    assert "default" not in run("space", "list").stdout
    done = run(*told, "--encoding", "windows-1252")
    assert (done.exit_code, json.loads(done.stdout)["recorded"]) == (1, 3)
    assert "Wo ist die Tür?" in [json.loads(line)["query"] for line in run("export").stdout.splitlines()]
    assert run(*told, "--encoding", "utf-16").exit_code == 2


def test_ratings_of_another_scale_are_refused_before_anything_is_recorded(folder):
    (folder / "survey.csv").write_text("Frage;Sterne\nWhere is it?;1\nCancel!;5\nWhen?;0,5\n")
    told = ["import", "survey.csv", "--dim", "256", "--map", "Frage=text", "--map", "Sterne=quality", "--decimal", ",",
            "--at", "2026-10-14T09:30Z"]  # fmt: skip
    refused = run(*told)
    assert refused.exit_code == 2
    assert "qualities from 0.5 to 5, outside of 0 to 1 for the first time in line 3" in refused.stderr
    assert "as in --scale 0:5" in refused.stderr
    assert "default" not in run("space", "list").stdout
    assert json.loads(run(*told, "--scale", "0:5").stdout)["recorded"] == 3


def test_texts_that_are_told_are_ratings(folder):
    (folder / "thumbs.csv").write_text(
        "id,text,quality\n1,Where is it?,👍\n2,Cancel!,nein\n3,When?, ja \n4,Who?,0.5\n5,Why?,no\n"
    )
    told = ["--rating", "👍=1", "--rating", "ja=1", "--rating", "nein=0"]
    done = run("import", "thumbs.csv", "--dim", "256", "--at", "2026-10-14T09:30Z", *told)
    assert (done.exit_code, json.loads(done.stdout)["rejected"]) == (1, 1)
    found = [json.loads(line) for line in run("export").stdout.splitlines()]
    assert {row["query"]: row["quality"] for row in found} == {
        "Where is it?": 1.0, "Cancel!": 0.0, "When?": 1.0, "Who?": 0.5
    }  # fmt: skip
    assert run("import", "thumbs.csv", "--rating", "up").exit_code == 2


@pytest.mark.parametrize("begins", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0"])
def test_a_workbook_is_to_be_saved_as_csv(folder, begins):
    (folder / "tickets.xlsx").write_bytes(begins + bytes(100))
    done = run("import", "tickets.xlsx", "--dim", "256")
    assert (done.exit_code, "save it there as 'CSV UTF-8'" in done.stderr) == (2, True)


def test_a_row_in_windows_1252_is_rejected_alone_if_the_file_is_said_to_be_utf8(folder):
    row = "Wo ist die Tür?;small;4;14.10.2026 09:30\n".encode("cp1252")
    (folder / "survey.csv").write_bytes(SURVEY.encode() + row)
    told = ["--scale", "1:5", "--timezone", "UTC", "--encoding", "utf-8"]
    done = run("import", "survey.csv", "--dim", "256", *MAPPED, *told)
    assert (done.exit_code, json.loads(done.stdout)["recorded"]) == (1, 2)
    reasons = [json.loads(line) for line in (folder / "survey.csv.rejects.jsonl").read_text().splitlines()]
    assert [told["line"] for told in reasons] == [4, 5]
    assert reasons[1]["reason"].startswith("not UTF-8 (byte 0xfc): name its encoding, as in --encoding windows-1252")


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_a_header_that_is_not_utf8_is_refused_with_a_way_to_convert_it(folder, encoding):
    (folder / "survey.csv").write_bytes("Tür;Stars\nWhere?;4\n".encode(encoding))
    done = run("import", "survey.csv", "--dim", "256")
    assert done.exit_code == 2
    assert "iconv -f" in done.output


def test_a_mapped_column_counts_in_place_of_one_with_the_fields_name(folder):
    (folder / "two.csv").write_text('Stars,embedding,quality,started_at\n1,"[1, 2]",0.75,1764123102\n')
    assert run("import", "two.csv", "--dim", "2", "--map", "Stars=quality").exit_code == 0
    assert json.loads(run("export").stdout)["quality"] == 1.0


def test_a_mapped_heading_that_is_not_there_is_told(folder):
    (folder / "survey.csv").write_text(SURVEY)
    done = run("import", "survey.csv", "--dim", "256", "--map", "Strs=quality")
    assert done.exit_code == 2
    assert "no heading 'Strs': expected one of Question, Model, Stars, Asked" in done.output
    both = run("import", "survey.csv", "--dim", "256", "--map", "Stars=quality", "--map", "Model=quality")
    assert (both.exit_code, "two headings" in both.output) == (2, True)
    (folder / "good").write_text(GOOD)
    unseen = run("import", "good", "--dim", "2", "--map", "Strs=quality")
    assert (unseen.exit_code, json.loads(unseen.stdout)["unseen_headings"]) == (0, ["Strs"])
    assert "no row has Strs" in unseen.stderr


def test_a_wrong_dimension_makes_no_space_that_is_in_the_way(folder):
    (folder / "survey.csv").write_text(SURVEY)
    (folder / "good").write_text(GOOD)
    words = ["import", "survey.csv", *MAPPED, "--scale", "1:5", "--timezone", "UTC"]
    wrong = run(*words, "--dim", "8")
    assert (wrong.exit_code, "expected --dim 256, not 8" in wrong.output) == (2, True)
    wrong = run("import", "good", "--dim", "8")
    assert (wrong.exit_code, "expected --dim 2, not 8" in wrong.output) == (2, True)
    assert json.loads(run(*words, "--dim", "256").stdout)["recorded"] == 2


def test_a_delimiter_within_quotes_of_the_header_counts_for_nothing(folder):
    (folder / "a.csv").write_text('embedding;"Stars (1,5), asked";started_at\n[1,2];4;1764123102\n')
    done = run("import", "a.csv", "--dim", "2", "--map", "Stars (1,5), asked=quality", "--scale", "1:5")
    assert (done.exit_code, json.loads(done.stdout)["recorded"]) == (0, 1), done.output


def test_times_in_milliseconds_are_numbers_in_csv(folder):
    (folder / "a.csv").write_text(
        'embedding,started_at\n"[1,2]",1764123102359\n"[1,2]",1764000000000\n"[1,2]",1764123102\n"[1,2]",20251127\n'
    )
    done = run("import", "a.csv", "--dim", "2", "--timezone", "UTC")
    assert done.exit_code == 0, done.output
    times = [json.loads(line)["started_at"][:19] for line in run("export").stdout.splitlines()]
    assert times == ["2025-11-24T16:00:00", "2025-11-26T02:11:42", "2025-11-26T02:11:42", "2025-11-27T00:00:00"]


def test_known_rows_with_other_contents_are_told(folder):
    (folder / "survey.csv").write_text(SURVEY[: SURVEY.index("Bad")])
    words = ["import", "survey.csv", *MAPPED, "--timezone", "UTC"]
    assert run(*words, "--scale", "1:10", "--dim", "256").exit_code == 0
    same = run(*words, "--scale", "1:10")
    assert (same.exit_code, json.loads(same.stdout)["known"], json.loads(same.stdout)["changed"]) == (0, 2, 0)
    done = run(*words, "--scale", "1:5")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["known"], told["changed"]) == (1, 2, 2)
    assert "2 rows are known with another quality, feedback, route or query" in done.stderr
    without_route = [word for word in words if word != "Model=route"]
    del without_route[without_route.index("--map", 4)]
    done = run(*without_route, "--scale", "1:10")
    assert json.loads(done.stdout)["changed"] == 2


def test_feedback_of_a_later_import_counts_in_place_of_a_wrong_quality(folder):
    row = {"id": "a", "started_at": "2026-10-05T12:00Z", "embedding": [1, 2], "quality": 0.25}
    (folder / "a").write_text(json.dumps(row))
    (folder / "b").write_text(json.dumps({**row, "feedback": [{"quality": 0.75}]}))
    codes = [run("import", name, "--dim", "2").exit_code for name in ("a", "b")]
    assert codes == [0, 0]
    assert json.loads(run("export").stdout)["feedback"][0]["quality"] == 0.75


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_retired_candidate_is_retired_where_it_is_imported(folder, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    (folder / "two.jsonl").write_text(
        '{"candidate": "right", "embedding": [1, 0]}\n{"candidate": "wrong", "embedding": [0, 1], "retired": true}\n'
        '{"candidate": "odd", "embedding": [0, 1], "retired": "perhaps"}\n'
    )
    done = run("--json", "import", "two.jsonl", "--dim", "2")
    assert json.loads(done.stdout)["rejected"] == 1
    assert run("export", "candidates", "--output", f"told.{suffix}").exit_code == 0
    assert run("import", f"told.{suffix}", "--space", "there", "--dim", "2").exit_code == 0
    for space in ("default", "there"):
        listed = run("--json", "candidates", "retired", "--space", space).stdout
        assert json.loads(listed)["candidate"] == "wrong"
