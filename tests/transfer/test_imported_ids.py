"""The id that a row has in its file is kept, and finds the row again."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime

import psycopg
import pytest
from typer.testing import CliRunner

from sona_pg.cli.commands import app
from sona_pg.domain.space import Space
from sona_pg.store.admin import retention
from sona_pg.store.database import Database
from sona_pg.transfer.row_ids import RowIds

FILE = 'Ticket,embedding,query,route,quality\nT-1042,"[1, 2]",Where is it?,small,0.5\nT-1043,"[2, 1]",Stop it,large,1\n'
OPTIONS = ("--map", "Ticket=id", "--dim", "2")


@pytest.fixture
def folder(folder):
    (folder / "tickets.csv").write_text(FILE)
    return folder


def run(*words):
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.stdout


def load(*words):
    return json.loads(run("import", *words))


def imported(url):
    with psycopg.connect(url) as raw:
        return raw.execute("SELECT imported_id, query, route, quality FROM sona.imported ORDER BY 1").fetchall()


def test_a_row_is_found_in_sql_by_the_id_of_its_file(folder, database_url):
    load("tickets.csv", *OPTIONS, "--at", "2026-10-05T12:00Z")
    assert imported(database_url) == [("T-1042", "Where is it?", "small", 0.5), ("T-1043", "Stop it", "large", 1.0)]


def test_a_file_without_times_is_recorded_once_whatever_at_says(folder, database_url):
    load("tickets.csv", *OPTIONS, "--at", "2026-10-05T12:00Z")
    again = load("tickets.csv", *OPTIONS, "--at", "2026-10-06T09:00Z")
    assert (again["recorded"], again["known"]) == (0, 2)
    assert len(imported(database_url)) == 2


def test_a_killed_import_of_rows_without_times_is_repeated_with_another_time(folder, database_url, monkeypatch):
    def killed(*_):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(RowIds, "commit", killed)  # the rows are committed by then
        CliRunner().invoke(app, ["import", "tickets.csv", *OPTIONS, "--at", "2026-10-05T12:00Z"])
    again = load("tickets.csv", *OPTIONS, "--at", "2026-10-06T09:00Z")
    assert (again["recorded"], again["known"]) == (0, 2)
    assert len(imported(database_url)) == 2


def test_rows_that_tell_their_time_are_told_apart_by_it(folder, database_url):
    rows = [{"id": "1", "started_at": f"2026-10-0{day}T12:00Z", "embedding": [1, 2]} for day in (5, 6)]
    (folder / "days.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load("days.jsonl", "--dim", "2")["recorded"] == 2
    assert [row[0] for row in imported(database_url)] == ["1", "1"]


def test_a_row_without_a_time_is_not_the_row_with_one_of_another_source(folder, database_url):
    dated = {"id": "T-2", "started_at": "2026-10-05T12:00Z", "embedding": [2, 1], "query": "theirs", "quality": 0.25}
    ours = {"id": "T-2", "embedding": [1, 2], "query": "ours", "quality": 0.9}
    for name, row in (("theirs", dated), ("ours", ours), ("corrected", ours | {"quality": 0.0})):
        (folder / f"{name}.jsonl").write_text(json.dumps(row))
    load("theirs.jsonl", "--dim", "2")
    assert load("ours.jsonl", "--at", "2026-11-02T12:00Z")["recorded"] == 1
    again = load("ours.jsonl", "--at", "2026-11-03T12:00Z")
    assert (again["recorded"], again["known"], again["changed"]) == (0, 1, 0)
    assert load("corrected.jsonl", "--corrections", "--at", "2026-11-09T12:00Z")["corrected"] == 1
    assert sorted(row[1::2] for row in imported(database_url)) == [("ours", 0.0), ("theirs", 0.25)]


def test_an_exported_row_may_have_had_no_time(folder, database_url):
    load("tickets.csv", *OPTIONS, "--at", "2026-10-05T12:00Z")
    run("export", "--with-embeddings", "--output", "out.csv")
    load("out.csv", "--space", "copy", "--dim", "2")
    again = load("tickets.csv", *OPTIONS, "--space", "copy", "--at", "2026-10-06T09:00Z")
    assert (again["recorded"], again["known"]) == (0, 2)


def test_an_export_names_the_rows_as_their_file_did_and_an_import_keeps_it(folder, database_url):
    load("tickets.csv", *OPTIONS, "--at", "2026-10-05T12:00Z")
    run("export", "--with-embeddings", "--output", "out.csv")
    with (folder / "out.csv").open(newline="") as file:
        assert sorted(row["imported_id"] for row in csv.DictReader(file)) == ["T-1042", "T-1043"]
    load("out.csv", "--space", "copy", "--dim", "2")
    assert [row[0] for row in imported(database_url)] == ["T-1042", "T-1042", "T-1043", "T-1043"]


def test_ids_that_no_table_can_hold_do_not_stop_an_import(folder, database_url):
    names = ["x" * 300, "a\u0000b", "\ud800", "fine"]
    rows = [{"id": name, "started_at": "2026-10-05T12:00Z", "embedding": [1, 2]} for name in names]
    (folder / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    CliRunner().invoke(app, ["import", "odd.jsonl", "--dim", "2"])
    assert [row[0] for row in imported(database_url)] == ["fine"]


def test_the_id_goes_with_an_erased_user(folder, database_url):
    row = {"id": "T-1", "started_at": "2026-10-05T12:00Z", "embedding": [1, 2], "context": ["user:ann"]}
    (folder / "one.jsonl").write_text(json.dumps(row))
    load("one.jsonl", "--dim", "2")
    run("forget", "--user", "ann", "--yes")
    assert imported(database_url) == []


def test_the_id_goes_with_a_record_past_its_retention(folder, database_url):
    load("tickets.csv", *OPTIONS, "--at", "2020-10-05T12:00Z")
    with psycopg.connect(database_url) as raw:
        ((space,),) = raw.execute("SELECT space_id FROM sona.spaces").fetchall()
        before, now = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC)
        assert retention.forget_imported(raw, space, before, now) == 0
        raw.execute("DELETE FROM sona.trajectories WHERE query = 'Stop it'")
        assert retention.forget_imported(raw, space, before, now) == 1
    assert [row[0] for row in imported(database_url)] == ["T-1042"]


def test_a_copy_of_a_space_knows_the_ids(folder, database_url):
    load("tickets.csv", *OPTIONS, "--at", "2026-10-05T12:00Z")
    run("space", "archive", "default", "default.sona")
    run("space", "unarchive", "default.sona", "--name", "copy")
    assert len(imported(database_url)) == 4


def test_the_first_of_several_trajectories_stands_for_an_id(folder, database_url):
    rows = [{"id": "1", "started_at": f"2026-10-0{day}T12:00Z", "embedding": [1, 2]} for day in (5, 6)]
    (folder / "days.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    load("days.jsonl", "--dim", "2")
    database = Database.open(database_url)
    try:
        space: Space = database.find_space("default")
        assert database.imported_ids.untimed(space, ["1", "2"]) == {}
        with psycopg.connect(database_url) as raw:
            raw.execute("UPDATE sona.imported_ids SET is_timed = NULL")  # as of rows imported before that was kept
        ids = sorted(each.trajectory_id for each in _rows(database_url))
        assert database.imported_ids.untimed(space, ["1", "2"]) == {"1": ids[0]}
    finally:
        database.close()


def _rows(url):
    with psycopg.connect(url, row_factory=psycopg.rows.namedtuple_row) as raw:
        return raw.execute("SELECT trajectory_id FROM sona.imported_ids").fetchall()
