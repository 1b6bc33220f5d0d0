"""A file with rows about erased users does not bring them back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import psycopg

from tests.transfer.command_line import run

AT = "2026-10-05T12:00Z"


def load(folder, rows, *options):
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("import", "rows.jsonl", "--dim", "2", *options)
    return done, json.loads(done.stdout)


def row(id, *labels, **more):
    return {"id": id, "embedding": [1, 2], "context": list(labels), **more}


def labels(url):
    with psycopg.connect(url) as raw:
        return [found[0] for found in raw.execute("SELECT context FROM sona.trajectories ORDER BY id")]


def test_a_file_does_not_bring_an_erased_user_back(folder, database_url):
    rows = [row(name, f"user:{name}", "beta", started_at=AT) for name in ("ann", "bob")]
    load(folder, rows)
    assert run("forget", "--user", "ann", "--yes").exit_code == 0
    done, told = load(folder, rows)
    assert (done.exit_code, told["erased"], told["first_erased"], told["known"], told["recorded"]) == (1, 1, 1, 1, 0)
    assert "1 rows (the first: line 1) were not recorded: whoever they are about was erased" in done.stderr
    assert "--erased-too" in done.stderr
    assert labels(database_url) == [["user:bob", "beta"]]
    assert not (folder / "rows.jsonl.rejects.jsonl").exists()


def test_rows_without_a_time_are_left_out_unless_they_are_asked_for(folder, database_url):
    load(folder, [row("1", "user:ann")], "--at", AT)
    run("forget", "--user", "ann", "--yes")
    now = datetime.now(UTC).isoformat()
    assert load(folder, [row("1", "user:ann")], "--at", now)[1]["erased"] == 1
    done, told = load(folder, [row("1", "user:ann")], "--at", now, "--erased-too")
    assert (done.exit_code, told["erased"], told["recorded"]) == (0, 0, 1)


def test_whoever_has_come_back_is_recorded(folder, database_url):
    load(folder, [row("1", "user:ann", started_at=AT)])
    run("forget", "--user", "ann", "--yes")
    later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    _, told = load(folder, [row("1", "user:ann", started_at=AT), row("2", "user:ann", started_at=later)])
    assert (told["erased"], told["recorded"]) == (1, 1)


def test_erased_sessions_and_single_records_stay_away(folder, database_url):
    rows = [row(str(place), f"session:{place}", started_at=AT) for place in range(3)]
    load(folder, rows)
    with psycopg.connect(database_url) as raw:
        ((single,),) = raw.execute("SELECT trajectory_id FROM sona.imported WHERE imported_id = '1'").fetchall()
    run("forget", "--session", "0", "--yes")
    run("forget", "--trajectory", str(single), "--yes")
    assert load(folder, rows)[1]["erased"] == 2
    assert labels(database_url) == [["session:2"]]
