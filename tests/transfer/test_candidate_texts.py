"""The text of an imported candidate is kept as its content, and exported again."""

from __future__ import annotations

import json

import pytest

from sona_pg import SonaEngine
from tests.transfer.command_line import run

ROWS = [
    {"candidate": "cancel", "text": "Open your order and choose Cancel.", "embedding": [1, 0]},
    {"candidate": "track", "embedding": [0, 1]},
]


def load(folder, rows, *options):
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run("import", "answers.jsonl", "--dim", "2", *options)


def contents(url):
    with SonaEngine(2, url) as engine:
        return {one.id: one.content for one in engine.contents(["cancel", "track"])}


def test_the_text_of_an_imported_answer_is_kept(folder, database_url):
    assert load(folder, ROWS).exit_code == 0
    assert contents(database_url) == {"cancel": {"text": ROWS[0]["text"]}}


def test_other_contents_of_a_known_candidate_stay(folder, database_url):
    load(folder, ROWS[1:])
    with SonaEngine(2, database_url) as engine:
        engine.keep_contents({"cancel": {"text": "old", "page": 7}})
    load(folder, ROWS)
    assert contents(database_url) == {"cancel": {"text": ROWS[0]["text"], "page": 7}}


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_an_export_of_candidates_has_their_texts(folder, database_url, ending):
    load(folder, ROWS)
    assert run("export", "candidates", "--output", f"told.{ending}").exit_code == 0
    assert run("import", f"told.{ending}", "--space", "copy", "--dim", "2").exit_code == 0
    with SonaEngine(2, database_url, "copy") as engine:
        assert [one.content for one in engine.contents(["cancel", "track"])] == [{"text": ROWS[0]["text"]}]


def test_a_text_that_cannot_be_stored_rejects_its_row_alone(folder, database_url):
    done = load(folder, [{"candidate": "bad", "text": "a\0b", "embedding": [1, 1]}, *ROWS])
    assert (done.exit_code, json.loads(done.stdout)["rejected"]) == (1, 1)
    assert list(contents(database_url)) == ["cancel"]
