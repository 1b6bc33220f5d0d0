"""An import records each row once, under its own time, and says which rows it could not use."""

from __future__ import annotations

import base64
import csv
import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import IngestConfig, LoopConfig
from sona_pg.errors import InvalidValue
from sona_pg.store.database import Database
from sona_pg.text.embedder import CallableEmbedder
from sona_pg.transfer import Imported, ImportWanted, RowMapping, import_file, importing, json_codec, row_source
from sona_pg.transfer.log_row import read_trajectory

DIM = 8
CONFIG = SonaConfig(loops=LoopConfig(automatic=False), ingest=IngestConfig(when_full="wait"))
LAST_MONTH = datetime(2026, 10, 5, 12, tzinfo=UTC)


@pytest.fixture
def engine(database_url):
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


@pytest.fixture
def database(database_url):
    opened = Database.open(database_url)
    yield opened
    opened.close()


@pytest.fixture
def load(engine, database):
    def imported(path: Path, progress: Any = lambda done, total: None) -> Imported:
        return import_file(engine, database, database.find_space("default"), ImportWanted(path), progress)

    return imported


def logged(n: int, **more: Any) -> dict[str, Any]:
    at = LAST_MONTH + timedelta(seconds=n)
    vector = np.roll(np.arange(1.0, DIM + 1), n).tolist()
    return {"id": f"request {n}", "started_at": at.isoformat(), "embedding": vector, **more}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def fetch(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def test_every_field_is_recorded_under_the_time_of_the_log(load, database_url, tmp_path):
    facts = [{"source": "judge", "quality": 0.25, "sequence": 7}, {"source": "bill", "cost": 0.5}]
    row = logged(
        1, query="where?", route="large", quality=0.75, latency=1.5, cost=0.125, context=["user:1"],
        parameters={"top_k": 3}, steps=[{"reward": 0.5, "offset": 0.25, "activations": [1.0] * DIM}], feedback=facts,
        correction="small", extra=1,
    )  # fmt: skip
    done = load(write(tmp_path / "logs.jsonl", [row]))
    assert (done.rows, done.recorded, done.feedback, done.rejected, done.known) == (1, 1, 3, 0, 0)
    assert done.ignored_fields == {"extra": 1}
    told = "SELECT query, route, quality, latency_us, paid, context, parameters, id FROM sona.trajectories"
    ((*stored, at),) = fetch(database_url, told)
    assert stored == ["where?", "large", 0.75, 1_500_000, 0.125, ["user:1"], {"top_k": 3}]
    assert at.int >> 80 == round((LAST_MONTH + timedelta(seconds=1)).timestamp() * 1000)
    assert fetch(database_url, "SELECT reward, offset_us FROM sona.steps") == [(0.5, 250_000)]
    said = fetch(database_url, "SELECT source, quality, correction, paid FROM sona.feedback ORDER BY source")
    assert said == [("bill", None, None, 0.5), ("judge", 0.25, None, None), ("user", None, "small", None)]


def test_a_repeated_import_records_nothing_twice(load, database_url, tmp_path, caplog):
    rows = [logged(n, quality=0.5, feedback=[{"quality": 1.0}]) for n in range(20)]
    del rows[3]["id"]  # told apart by its content
    path = write(tmp_path / "logs.jsonl", rows)
    assert load(path).recorded == 20
    again = load(path)
    assert (again.rows, again.recorded, again.feedback, again.known, again.rejected) == (20, 0, 0, 20, 0)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    counts = "SELECT (SELECT count(*) FROM sona.trajectories), (SELECT count(*) FROM sona.feedback)"
    assert fetch(database_url, counts) == [(20, 20)]


def test_records_of_others_that_are_written_meanwhile_hide_no_known_row(engine, database, load, tmp_path):
    """The writer of an import writes what a process that died has left, too: none of it is of the file."""
    load(write(tmp_path / "wrong.jsonl", [logged(n, quality=1.0) for n in range(20)]))
    path = write(tmp_path / "right.jsonl", [logged(n, quality=0.25) for n in range(21)])

    def meanwhile(done: int, total: int) -> None:
        for _ in range(50):
            engine.end_trajectory(engine.begin_trajectory([1.0] * DIM), 0.5)

    done = import_file(
        engine, database, database.find_space("default"), ImportWanted(path, corrections=True), meanwhile
    )
    assert (done.rows, done.recorded, done.known, done.corrected, done.changed) == (21, 1, 20, 20, 0)


UNUSABLE = [
    ("{no json}\n", "no JSON"),
    ("[1]\n", "expected an object"),
    (logged(1, embedding=[1.0]), "dimension"),
    (logged(1, embedding=[0.0] * DIM), "all 0"),
    (logged(1, embedding=[1e300] * DIM), "finite"),
    (logged(1, embedding="###"), "base64"),
    (logged(1, embedding=None), "neither embedding nor text"),
    (logged(1, quality=1.5), "quality is 1.5"),
    (logged(1, latency=-1), "latency"),
    (logged(1, cost="much"), "cost is 'much'"),
    *((logged(1, latency=told), "latency is .*, expected a number") for told in ("1_0", "nan", "\u0661", "inf")),
    (logged(1, quality="0_1"), "quality is '0_1', expected a number"),
    (logged(1, started_at="1_0"), "started_at is '1_0'"),
    (logged(1, route=""), "route"),
    (logged(1, started_at="2026-10-05T12:00"), "time zone"),
    (logged(1, started_at=None), "started_at"),
    (logged(1, id=None, started_at=None), "--at"),
    (logged(1, context=[1]), "context"),
    (logged(1, candidates="a"), "list of ids"),
    (logged(1, candidates="all"), "import the candidates before"),
    (logged(1, feedback=[{"source": "user"}]), r"feedback\[0\] needs"),
    (logged(1, feedback=[{"quality": 2}]), "quality is 2"),
    (logged(1, steps=[{"reward": 1e9}]), "reward"),
    (logged(1, decision={"propensity": 0.5}), "needs the row's route"),
]


def test_rows_that_cannot_be_used_are_listed_with_line_and_reason(load, tmp_path):
    done = load(write(tmp_path / "logs.jsonl", [logged(0), *(row for row, _ in UNUSABLE), logged(2)]))
    assert (done.rows, done.recorded, done.rejected) == (len(UNUSABLE) + 2, 2, len(UNUSABLE))
    told = [json.loads(line) for line in (tmp_path / "logs.jsonl.rejects.jsonl").read_text().splitlines()]
    assert [row["line"] for row in told] == list(range(2, len(UNUSABLE) + 2))
    for row in told:
        assert re.search(UNUSABLE[row["line"] - 2][1], row["reason"]), row


def test_gzip_csv_and_base64_say_the_same_as_jsonl(load, database_url, tmp_path):
    rows = [logged(n, query=f'a "quoted"\nquestion {n}', quality=n / 4, context=["a", "b"]) for n in range(4)]
    zipped = tmp_path / "logs.jsonl.gz"
    with gzip.open(zipped, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    assert load(zipped).recorded == 4
    table = tmp_path / "logs.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "embedding": json.dumps(row["embedding"]), "context": '["a", "b"]'} for row in rows)
    done = load(table)
    assert (done.rows, done.known, done.rejected) == (4, 4, 0)
    told = [{**row, "embedding": base64.b64encode(np.array(row["embedding"], "<f4")).decode()} for row in rows]
    assert load(write(tmp_path / "base64.jsonl", told)).known == 4
    assert fetch(database_url, "SELECT count(*), sum(quality) FROM sona.trajectories") == [(4, 1.5)]


def test_texts_are_embedded_together(database_url, database, tmp_path):
    asked: list[int] = []

    class Embedder:
        dim = DIM

        def embed(self, texts):
            asked.append(len(texts))
            return np.ones((len(texts), DIM), np.float32)

    rows = [{"id": f"{n}", "started_at": 1.7e9 + n, "text": f"question {n}"} for n in range(10)]
    with SonaEngine(DIM, database_url, config=CONFIG, embedder=Embedder()) as engine:
        asked.clear()
        space = database.find_space("default")
        done = import_file(engine, database, space, ImportWanted(write(tmp_path / "logs.jsonl", rows)))
    assert (done.recorded, asked) == (10, [10])
    assert fetch(database_url, "SELECT query FROM sona.trajectories ORDER BY id LIMIT 1") == [("question 0",)]


class Killed(BaseException):
    """End of a process."""


def test_a_killed_import_goes_on_where_all_was_committed(load, database_url, tmp_path, monkeypatch):
    path = write(tmp_path / "logs.jsonl", [logged(n) if n % 10 else "{\n" for n in range(1000)])
    monkeypatch.setattr(importing, "CHECKPOINT_EVERY", 0.0)
    blocks = []

    def killed(done: int, total: int) -> None:
        blocks.append(done)
        if len(blocks) == 3:
            raise Killed

    with pytest.raises(Killed):
        load(path, killed)
    done = load(path)
    assert done.resumed_at == 512
    assert (done.rows, done.rejected) == (1000, 100)
    lines = [json.loads(line)["line"] for line in (tmp_path / "logs.jsonl.rejects.jsonl").read_text().splitlines()]
    assert lines == list(range(1, 1001, 10))
    assert fetch(database_url, "SELECT count(*) FROM sona.trajectories") == [(900,)]
    assert sorted(known.name for known in tmp_path.iterdir()) == ["logs.jsonl", "logs.jsonl.rejects.jsonl"]


def test_a_killed_import_of_corrections_records_each_of_them_once(
    engine, database, load, database_url, tmp_path, monkeypatch
):
    load(write(tmp_path / "wrong.jsonl", [logged(n, quality=0.25) for n in range(12)]))
    path = write(tmp_path / "right.jsonl", [logged(n, quality=0.75) for n in range(12)])
    monkeypatch.setattr(importing, "CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(importing, "BLOCK", 4)
    kept = importing.save_checkpoint
    saved = []

    def killed(*place: Any) -> None:
        saved.append(place)
        if len(saved) == 2:  # its corrections are committed, its place is not
            raise Killed
        kept(*place)

    monkeypatch.setattr(importing, "save_checkpoint", killed)
    space, wanted = database.find_space("default"), ImportWanted(path, corrections=True)
    with pytest.raises(Killed):
        import_file(engine, database, space, wanted)
    assert fetch(database_url, "SELECT count(*) FROM sona.feedback") == [(8,)]
    done = import_file(engine, database, space, wanted)
    assert (done.resumed_at, done.corrected, done.changed) == (4, 4, 0)
    told = "SELECT count(*), count(DISTINCT trajectory_id), min(quality), max(source) FROM sona.feedback"
    assert fetch(database_url, told) == [(12, 12, 0.75, "import")]


def test_corrections_of_one_id_far_apart_are_rejected_in_every_run_alike(
    engine, database, database_url, tmp_path, monkeypatch
):
    monkeypatch.setattr(importing, "CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(importing, "BLOCK", 4)
    rows = [logged(0, quality=1.0), *(logged(n, quality=0.5) for n in range(1, 12)), logged(0, quality=0.0)]
    path = write(tmp_path / "twice.jsonl", [*rows, logged(0, quality=1.0)])
    space, wanted = database.find_space("default"), ImportWanted(path, corrections=True)

    def stopped(done: int, total: int) -> None:
        if (tmp_path / "twice.jsonl.import").exists():
            raise KeyboardInterrupt

    def loaded() -> Imported:
        return import_file(engine, database, space, wanted)

    with pytest.raises(KeyboardInterrupt):
        import_file(engine, database, space, wanted, stopped)
    done = loaded()
    assert (done.resumed_at, done.rejected, done.corrected) == (8, 1, 0)
    for done in (loaded(), loaded()):
        assert (done.known, done.rejected, done.corrected, done.feedback) == (13, 1, 0, 0)
        told = json.loads((tmp_path / "twice.jsonl.rejects.jsonl").read_text())
        assert (told["line"], told["reason"]) == (
            13, "id 'request 0' stands twice with different values: the first row counts"
        )  # fmt: skip
    assert fetch(database_url, "SELECT count(*) FROM sona.feedback") == [(0,)]


def test_a_killed_import_of_csv_goes_on_at_the_right_line(load, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "CHECKPOINT_EVERY", 0.0)
    path = tmp_path / "logs.csv"
    lines = [f'{n},{1.7e9 + n},"[1, 2, 3, 4, 5, 6, 7, {n}]","two\nlines"\n' for n in range(300)]
    path.write_text("id,started_at,embedding,query\n" + "".join(lines) + "bad,cells\n")
    seen = []

    def killed(done: int, total: int) -> None:
        seen.append(done)
        if len(seen) == 2:
            raise Killed

    with pytest.raises(Killed):
        load(path, killed)
    done = load(path)
    assert (done.rows, done.resumed_at, done.rejected) == (301, 513, 1)
    assert json.loads((tmp_path / "logs.csv.rejects.jsonl").read_text())["line"] == 602


def test_an_import_that_is_stopped_goes_on_behind_the_last_whole_block(load, tmp_path):
    path = write(tmp_path / "logs.jsonl", [logged(n) if n % 10 else "{\n" for n in range(1000)])
    blocks = []

    def stopped(done: int, total: int) -> None:
        blocks.append(done)
        if len(blocks) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(path, stopped)
    done = load(path)
    assert (done.resumed_at, done.rows, done.rejected, done.known) == (768, 1000, 100, 0)


def test_rejected_rows_of_csv_are_kept_as_they_stand_to_be_mended_and_imported(load, tmp_path):
    vector = json.dumps([0.123456789] * DIM)
    header = "id,started_at,embedding,query,quality"
    rows = [f'{n},{1.7e9 + n},"{vector}","two\n""lines"" {"long " * 500}",{n}' for n in range(4)]
    (tmp_path / "logs.csv").write_text("\r\n".join([header, *rows, '9,"broken"cell,', ""]), newline="")
    assert load(tmp_path / "logs.csv").rejected == 3
    told = [json.loads(line) for line in (tmp_path / "logs.csv.rejects.jsonl").read_text().splitlines()]
    assert [row["row"] for row in told] == [*rows[2:], '9,"broken"cell,']
    mended = [row["row"][:-1] + "1" for row in told[:2]]
    (tmp_path / "mended.csv").write_text("\n".join([header, *mended]))
    done = load(tmp_path / "mended.csv")
    assert (done.recorded, done.rejected) == (2, 0)


@pytest.mark.parametrize("reader", ["orjson", "stdlib"])
def test_half_of_a_surrogate_pair_rejects_its_row_alone(database_url, database, tmp_path, monkeypatch, reader):
    if reader == "stdlib":
        monkeypatch.setattr(row_source, "read_json", json_codec.read_cell)
    embedder = CallableEmbedder(lambda texts: [[float(len(text.encode()))] * DIM for text in texts], DIM)
    rows = [logged(n, embedding=None, text=text) for n, text in enumerate(("\ud800", "\U0001f600 \\ud800"))]
    path = write(tmp_path / "logs.jsonl", rows)
    with SonaEngine(DIM, database_url, config=CONFIG, embedder=embedder) as engine:
        done = import_file(engine, database, database.find_space("default"), ImportWanted(path))
    assert (done.recorded, done.rejected) == (1, 1)


def test_an_interrupted_import_that_is_read_in_another_way_begins_again(engine, database, tmp_path):
    path = write(tmp_path / "logs.jsonl", [logged(n, quality=0.5) for n in range(300)])

    def loaded(scale: tuple[float, float], progress: Any = lambda done, total: None) -> Imported:
        wanted = ImportWanted(path, mapping=RowMapping(scale=scale))
        return import_file(engine, database, database.find_space("default"), wanted, progress)

    def stopped(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loaded((0, 2), stopped)
    done = loaded((0, 1))
    assert (done.resumed_at, done.recorded, done.known, done.changed) == (0, 44, 256, 256)


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"quality": 5}, "feedback[1].quality is 5.0, expected a number from 0 to 1"),
        ({"quality": "good"}, "feedback[1].quality is 'good', expected a number"),
        ({"correction": ""}, "feedback[1].correction is '', expected the id of a candidate"),
        ({"cost": "much"}, "feedback[1].cost is 'much', expected a number"),
        ({"retract": 1}, "feedback[1].retract is 1, expected true or false"),
    ],
)
def test_a_refused_fact_is_named_by_its_place_in_the_list(second, reason):
    row = logged(1, correction="right", feedback=[{"quality": 1}, second])
    with pytest.raises(InvalidValue, match=f"^{re.escape(reason)}$"):
        read_trajectory(row, b"", None)
