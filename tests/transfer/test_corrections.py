"""A corrected file is imported with --corrections: changed ratings become feedback, once."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import fields
from datetime import UTC, datetime
from uuid import UUID

import pytest

from sona_pg.domain.ids import uuid7
from sona_pg.domain.judged import Fact
from sona_pg.engine import SonaEngine
from sona_pg.errors import InvalidValue
from sona_pg.store.export_rows import RecordedContents
from sona_pg.transfer.log_row import LoggedFact, LogRow
from sona_pg.transfer.row_changes import ToldRow, changes_of
from sona_pg.transfer.row_ids import FirstValues
from tests.transfer.command_line import run


def row(name, **more):
    return {"id": name, "started_at": f"2026-10-05T12:0{ord(name) % 8}Z", "embedding": [1, 2], **more}


def load(folder, name, rows, *options):
    (folder / name).write_text("".join(json.dumps(each) + "\n" for each in rows))
    done = run("import", name, "--dim", "2", *options)
    return done, json.loads(done.stdout)


def outcomes():
    rows = [json.loads(line) for line in run("export").stdout.splitlines()]
    return [(each.get("quality"), [fact.get("quality") for fact in each.get("feedback", ())]) for each in rows]


def test_a_scale_leaves_the_qualities_of_feedback_as_they_are(folder):
    (folder / "survey.csv").write_text(
        'Stars,embedding,feedback,started_at\n5,"[1, 2]","[{""quality"": 1.0}]",2026-10-05T12:00Z\n'
    )
    done = run("import", "survey.csv", "--dim", "2", "--map", "Stars=quality", "--scale", "1:5")
    assert done.exit_code == 0, done.output
    assert outcomes() == [(1.0, [1.0])]


def test_feedback_that_is_known_with_another_value_is_told(folder):
    rows = [row("a", feedback=[{"quality": 0.0}]), row("b", route="x", correction="y"), row("c", quality=1.0)]
    load(folder, "wrong", rows)
    rows[0]["feedback"], rows[1]["correction"] = [{"quality": 1.0}], "z"
    done, told = load(folder, "right", rows, "--changed", "changed.jsonl")
    assert (done.exit_code, told["known"], told["changed"], told["corrected"], told["feedback"]) == (1, 3, 2, 0, 0)
    assert 'line 1, id \'a\': feedback of user {"quality": 0.0} -> {"quality": 1.0}' in done.stderr
    assert "--corrections records changed ratings" in done.stderr
    listed = [json.loads(line) for line in (folder / "changed.jsonl").read_text().splitlines()]
    assert listed == told["first_changed"]
    assert [(each["line"], each["id"], each["corrected"]) for each in listed] == [(1, "a", []), (2, "b", [])]
    assert listed[1]["changes"] == {"feedback of user": {"recorded": {"correction": "y"}, "file": {"correction": "z"}}}


def test_corrections_are_recorded_once_and_the_last_file_counts(folder):
    wrong = [row("a", quality=0.25), row("b", feedback=[{"quality": 0.0}]), row("c", quality=0.5)]
    right = [row("a", quality=0.75), row("b", feedback=[{"quality": 1.0}]), row("c", quality=0.5)]
    load(folder, "wrong", wrong)
    done, told = load(folder, "right", right, "--corrections")
    assert (done.exit_code, told["corrected"], told["changed"], told["feedback"]) == (0, 2, 0, 2)
    assert "line 1, id 'a': quality 0.25 -> 0.75 (corrected)" in done.stderr
    corrected = [(0.25, [0.75]), (None, [0.0, 1.0]), (0.5, [])]
    assert outcomes() == corrected
    for options in (["--corrections"], []):
        done, told = load(folder, "right", right, *options)
        assert (done.exit_code, told["corrected"], told["changed"], told["feedback"]) == (0, 0, 0, 0)
    done, told = load(folder, "wrong", wrong)
    assert (done.exit_code, told["changed"]) == (1, 2)
    assert outcomes() == corrected
    assert load(folder, "wrong", wrong, "--corrections")[1]["corrected"] == 2
    assert outcomes() == [(0.25, [0.75, 0.25]), (None, [0.0, 1.0, 0.0]), (0.5, [])]


def test_an_export_after_corrections_differs_in_nothing(folder):
    load(folder, "wrong", [row("a", quality=0.25)])
    load(folder, "right", [row("a", quality=0.75)], "--corrections")
    run("export", "--with-embeddings", "--output", "told.jsonl")
    done = run("import", "told.jsonl", "--corrections")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["changed"], told["feedback"]) == (0, 0, 0)


def test_of_several_rows_of_one_id_the_first_one_corrects_and_others_are_rejected(folder):
    load(folder, "wrong", [row("a", quality=0.5)])
    twice = [row("a", quality=0.25), row("a", quality=0.75), row("a", quality=0.25)]
    for corrected in (1, 0):
        done, told = load(folder, "twice", twice, "--corrections")
        assert (done.exit_code, told["corrected"], told["rejected"]) == (1, corrected, 1)
    assert outcomes() == [(0.5, [0.25])]


def test_texts_routes_and_ratings_that_feedback_replaced_stay(folder):
    load(folder, "first", [row("a", quality=0.25, route="x", query="q", feedback=[{"quality": 1.0}])])
    done, told = load(folder, "second", [row("a", quality=0.5, route="y", query="r")], "--corrections")
    assert (done.exit_code, told["changed"], told["corrected"], told["feedback"]) == (1, 1, 0, 0)
    assert told["first_changed"][0]["changes"].keys() == {"quality", "route", "query"}
    assert "only ratings can be corrected" in done.stderr


def test_a_row_without_an_id_corrects_nothing_and_is_not_recorded_anew(folder):
    known = row("a", quality=0.25)
    del known["id"]
    load(folder, "wrong", [known])
    done, told = load(folder, "right", [{**known, "quality": 0.75}], "--corrections")
    assert (done.exit_code, told["recorded"], told["rejected"]) == (2, 0, 1)
    assert "it has no id, by which --corrections finds the row to correct" in done.stderr


@pytest.mark.parametrize("changed", ["right", "right.rejects.jsonl", "notes", "no/folder"])
def test_the_list_of_changed_rows_overwrites_no_other_file(folder, changed):
    (folder / "notes").write_text("mine\n")
    (folder / "right").write_text(json.dumps(row("a")))
    done = run("import", "right", "--dim", "2", "--changed", changed)
    assert done.exit_code == 2, done.output
    assert changed in done.stderr
    assert (folder / "notes").read_text() == "mine\n"


AT = 1_790_000_000_000_000  # a time as a sequence, in microseconds


def said(sequence, quality, source="user"):
    return Fact(source, sequence, quality, None, False)


def told(*facts, quality=None):
    return ToldRow(
        uuid7(), 1, "a", quality, None, None, [LoggedFact("user", *fact, None, False, None) for fact in facts]
    )


def test_feedback_given_after_the_log_counts_for_more_than_its_correction():
    known = RecordedContents(None, None, None, [said(AT, 0.0), said(AT + 9000, 1.0)])
    (change,) = changes_of(told((AT, 0.5)), known)
    assert (change.fact.sequence, change.fact.quality) == (AT + 1, 0.5)
    again = RecordedContents(None, None, None, [*known.facts, said(AT + 1, 0.5)])
    assert changes_of(told((AT, 0.5)), again) == []


def test_a_fact_that_the_corrected_file_lacks_is_corrected_by_the_one_before():
    known = RecordedContents(None, None, None, [said(AT, 0.0), said(AT + 1, 1.0)])
    (change,) = changes_of(told((AT, 0.0)), known)
    assert (change.fact.sequence, change.fact.quality) == (AT + 2, 0.0)


def test_a_rating_that_was_retracted_gives_way_to_a_corrected_quality():
    known = RecordedContents(0.25, None, None, [said(AT, 1.0), said(AT + 1, None)])
    (change,) = changes_of(told(quality=0.5), known)
    assert (change.fact.source, change.fact.quality) == ("import", 0.5)


def test_newer_feedback_of_an_application_that_counts_is_no_correction_of_an_import(folder):
    rows = [row(name, feedback=[{"quality": 0.25, "sequence": 1}]) for name in "abc"]
    load(folder, "log", rows)
    ids = [json.loads(line)["id"] for line in run("export").stdout.splitlines()]
    with SonaEngine(2, space="default") as engine:
        engine.record_feedback(UUID(ids[0]), quality=0.75, source="user", sequence=2)
        engine.record_feedback(UUID(ids[1]), retract=True, source="user", sequence=2)
        engine.flush()
    before = outcomes()
    done, told = load(folder, "log", rows, "--corrections")
    assert (done.exit_code, told["changed"], told["corrected"], told["feedback"]) == (0, 0, 0, 0)
    assert outcomes() == before
    rows[2]["feedback"][0]["quality"] = 1.0
    done, told = load(folder, "right", rows, "--corrections")
    assert (done.exit_code, told["changed"], told["corrected"]) == (1, 1, 0)
    assert "give it a higher sequence in the file" in done.stderr
    rows[2]["feedback"][0]["sequence"] = 2
    done, told = load(folder, "right", rows, "--corrections")
    assert (done.exit_code, told["feedback"]) == (0, 1)


def test_ids_of_a_long_file_are_not_kept_in_memory():
    first = FirstValues()
    tracemalloc.start()
    try:
        kept = []
        for number in range(20_001):
            first.require_same(logged(number))
            if number % 10_000 == 0:
                kept.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert kept[2] - kept[1] < 100_000  # 10 bytes a row, and an id has 16
    first.require_same(logged(7))
    with pytest.raises(InvalidValue, match="stands twice"):
        first.require_same(logged(7, route="other"))
    first.close()


def logged(number: int, route: str = "small") -> LogRow:
    told = {"id": f"request {number}", "started_at": datetime.fromtimestamp(1.7e9 + number, UTC), "route": route}
    rest = dict.fromkeys((field.name for field in fields(LogRow) if field.name not in told), None)
    return LogRow(**told, **(rest | {"facts": ()}))
