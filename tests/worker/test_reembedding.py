"""Re-embedding a space from its texts: copy, learn, switch; resumed after a kill; counts rows without text."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from sona_pg import BaseConfig, LoopConfig, MaintenanceConfig, SonaConfig, SonaEngine
from sona_pg.errors import Conflict, DimensionMismatch, InvalidValue, UnknownSpace
from sona_pg.store.database import Database
from sona_pg.worker import reembedding
from sona_pg.worker.reembedding import catch_up, reembed

QUIET = SonaConfig(
    loops=LoopConfig(automatic=False, poll_interval=60.0), maintenance=MaintenanceConfig(automatic=False)
)
OLD, NEW = 8, 12
TEXTS = {f"d{row}": f"document {row}" for row in range(4)}


class Model:
    """Embeds a text by its checksum, always alike; counts the texts."""

    def __init__(self, dim: int, fails_at: int | None = None) -> None:
        self.dim = dim
        self.seen: list[str] = []
        self.fails_at = fails_at

    def __call__(self, texts: list[str]) -> np.ndarray:
        if self.fails_at is not None and len(self.seen) >= self.fails_at:
            raise KeyboardInterrupt
        self.seen += texts
        rows = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(self.dim) for text in texts]
        return np.array(rows, np.float32)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database.open(database_url)
    yield opened
    opened.close()


def record(engine: SonaEngine, batches: int = 3) -> list:
    """Record batches of six trajectories about the documents, one of which has no text; the first gets feedback."""
    model, handles = Model(OLD), []
    for batch in range(batches):
        for row in range(6):
            text = f"question {batch} {row}"
            ranking = engine.rank(model([text])[0], model(list(TEXTS.values())), ids=list(TEXTS))
            handle = engine.begin_trajectory(model([text])[0], query=text if row else None, ranking=ranking)
            engine.add_step(handle, np.ones(OLD), None, 0.5)
            engine.set_trajectory_route(handle, f"d{row % 4}")
            engine.end_trajectory(handle, 0.5)
            handles.append(handle)
        engine.feedback(handles[-6].id, 0.9, source="judge")  # of one without a text
        engine.feedback(handles[-1].id, 0.1, source="judge")
        engine.flush()
    return handles


def test_a_reembedded_space_answers_under_its_name(database_url: str, database: Database) -> None:
    with SonaEngine(OLD, database_url, "s", config=QUIET.replace(base=BaseConfig(rank=3))) as engine:
        last = record(engine)[-1]
        engine.force_learn()
    told: list[tuple[int, int]] = []
    done = reembed(
        database, "s", Model(NEW), NEW, candidate_texts=TEXTS, progress=lambda now, total: told.append((now, total))
    )
    assert (done.space, done.dim, done.kept_as, done.version) == ("s", NEW, "s~1", 1)
    assert (done.trajectories, done.without_text, done.candidates, done.candidates_without_text) == (15, 3, 4, 0)
    assert (done.feedback, done.feedback_left) == (3, 3)
    assert (told[0], told[-1]) == ((0, 18), (0, 0)) or told[-1] == (18, 18)
    with SonaEngine(NEW, database_url, "s", config=QUIET, create=False) as engine:
        query = Model(NEW)(["question 2 5"])[0]
        assert engine.config.base.rank == 3
        assert engine.search(query, 1)[0].id == last.id
        assert engine.find_patterns(query, 1)
        assert len(engine.rank(query, k=9).ids) == 4
        assert engine.metrics()["totals"]["trajectories"] == 15
        assert engine.rebuild().equal
    with psycopg.connect(database_url) as connection:
        outcome = connection.execute(
            "SELECT quality FROM sona.outcomes WHERE space_id = 2 AND trajectory_id = %s", [last.id]
        ).fetchone()
    assert outcome == (pytest.approx(0.1),)
    assert [(space.name, space.dim) for space in database.list_spaces()] == [("s", NEW), ("s~1", OLD)]
    database.remove_space("s~1")
    assert [space.name for space in database.list_spaces()] == ["s"]


def test_it_goes_on_where_it_was_killed(database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reembedding, "AT_ONCE", 4)
    with SonaEngine(OLD, database_url, "s", config=QUIET) as engine:
        record(engine)
    first, second = Model(NEW, fails_at=10), Model(NEW)
    with pytest.raises(KeyboardInterrupt):
        reembed(database, "s", first, NEW, candidate_texts=TEXTS)
    assert [space.name for space in database.list_spaces()] == ["s", "s~next"]
    with pytest.raises(Conflict, match=r"'s~next' with 12 dimensions exists already: finish that copy with 12 dim"):
        reembed(database, "s", Model(5), 5, candidate_texts=TEXTS)
    done = reembed(database, "s", second, NEW, candidate_texts=TEXTS)
    assert done.trajectories == 15
    assert 4 + 15 <= len(first.seen) + len(second.seen) <= 4 + 15 + 4  # one chunk at most was embedded twice
    assert not set(TEXTS.values()) & set(second.seen)


def test_later_records_of_other_servers_are_copied(database_url: str, database: Database) -> None:
    with SonaEngine(OLD, database_url, "s", config=QUIET) as engine:
        record(engine, 1)
        reembed(database, "s", Model(NEW), NEW, candidate_texts=lambda ids: [TEXTS.get(id_) for id_ in ids])
        record(engine, 1)  # into the space now called s~1
        done = catch_up(database, "s", Model(NEW), candidate_texts=TEXTS)
        catch_up(database, "s", Model(NEW), candidate_texts=TEXTS)  # counts nothing twice
    counted = database.totals(database.find_space("s"))
    assert (counted["trajectories"], counted["feedback"]) == (done.trajectories, done.feedback) == (10, 2)
    assert (done.trajectories, done.without_text, done.kept_as, done.version) == (10, 2, "s~1", 2)
    with pytest.raises(Conflict, match="'s~1' was not re-embedded"):
        catch_up(database, "s~1", Model(NEW))


def test_what_the_new_space_records_itself_is_not_taken_from_what_was_left(
    database_url: str, database: Database
) -> None:
    with SonaEngine(OLD, database_url, "s", config=QUIET) as engine:
        record(engine, 1)
        reembed(database, "s", Model(NEW), NEW, candidate_texts=TEXTS)
        with SonaEngine(NEW, database_url, "s", config=QUIET) as new:
            for row in range(3):
                handle = new.begin_trajectory(np.ones(NEW), query=f"question {row}")
                new.end_trajectory(handle, 0.5)
                new.feedback(handle, 1.0)
            new.rank(np.ones(NEW), np.eye(5, NEW, dtype=np.float32), ids=[f"n{row}" for row in range(5)])
            new.flush()
    done = catch_up(database, "s", Model(NEW), candidate_texts=TEXTS)
    assert (done.trajectories, done.feedback, done.candidates) == (8, 4, 9)
    assert (done.without_text, done.feedback_left, done.candidates_without_text) == (1, 1, 0)


def test_rows_that_cannot_be_embedded_are_refused_by_name(database_url: str, database: Database) -> None:
    with pytest.raises(UnknownSpace, match="'s'"):
        reembed(database, "s", Model(NEW), NEW)
    with SonaEngine(OLD, database_url, "s", config=QUIET) as engine:
        record(engine, 1)
    with pytest.raises(InvalidValue, match=r"4 candidates have no text, 'd0' first: give texts by id"):
        reembed(database, "s", Model(NEW), NEW)
    with pytest.raises(InvalidValue, match="'s': 3 candidates have no text, 'd1' first"):
        reembed(database, "s", Model(NEW), NEW, candidate_texts={"d0": "document 0"})
    assert [space.name for space in database.list_spaces()] == ["s"]  # no copy stands in the way of the next attempt
    with pytest.raises(DimensionMismatch):
        reembed(database, "s", Model(NEW - 1), NEW, candidate_texts=TEXTS)
    with pytest.raises(InvalidValue, match=r"embed gave an array of shape \(12,\)"):
        reembed(database, "s", lambda texts: Model(NEW)(texts)[0], NEW, candidate_texts=TEXTS)
    with pytest.raises(InvalidValue, match="1 texts for 4 ids"):
        reembed(database, "s", Model(NEW), NEW, candidate_texts=lambda ids: ["one"])
    done = reembed(database, "s", Model(NEW), NEW, candidate_texts={}, learn=False)
    assert (done.candidates, done.candidates_without_text, done.version) == (0, 4, 0)


def test_texts_of_candidates_are_read_from_the_store(database_url: str, database: Database) -> None:
    with SonaEngine(OLD, database_url, "s", config=QUIET) as engine:
        record(engine, 1)
        engine.keep_contents({"d1": {"text": "the stored text"}, "d2": {"text": "given another"}, "d3": {"text": "no"}})
    model = Model(NEW)
    done = reembed(database, "s", model, NEW, candidate_texts={"d0": "given", "d2": "given too", "d3": None})
    assert (done.candidates, done.candidates_without_text) == (3, 1)
    assert model.seen[1:4] == ["given", "the stored text", "given too"]


def test_an_erasure_reaches_a_copy_that_is_not_finished(database_url: str, database: Database, tmp_path) -> None:
    key = tmp_path / "receipt.key"
    key.write_text("0123456789abcdef0123456789abcdef")
    with SonaEngine(OLD, database_url, "s", config=QUIET) as engine:
        for person in ("ann", "bob", "bob"):
            handle = engine.begin_trajectory(Model(OLD)([person])[0], query=f"question of {person}")
            engine.add_trajectory_context(handle, f"user:{person}")
            engine.end_trajectory(handle, 1.0)
            engine.flush()
        with pytest.raises(KeyboardInterrupt):
            reembed(database, "s", Model(NEW, fails_at=2), NEW)
        assert len(engine.forget(user="bob", key=key).facts["copies"]) == 1
    reembed(database, "s", Model(NEW), NEW)
    with SonaEngine(NEW, database_url, "s", config=QUIET, create=False) as engine:
        assert engine.rebuild().equal
        assert engine.forget_plan(user="bob").trajectories == 0
        assert engine.forget_plan(user="ann").trajectories == 1


def test_an_erasure_reaches_the_spaces_that_reembedding_has_kept(
    database_url: str, database: Database, tmp_path
) -> None:
    key = tmp_path / "receipt.key"
    key.write_text("0123456789abcdef0123456789abcdef")
    with SonaEngine(OLD, database_url, "s", config=QUIET) as engine:
        for person in ("ann", "bob", "bob"):
            handle = engine.begin_trajectory(Model(OLD)([person])[0], query=f"question of {person}")
            engine.add_trajectory_context(handle, f"user:{person}")
            engine.end_trajectory(handle, 1.0)
        engine.force_learn()
    reembed(database, "s", Model(NEW), NEW)
    reembed(database, "s", Model(OLD), OLD)
    with SonaEngine(OLD, database_url, "s", config=QUIET) as engine:
        receipt = engine.forget(user="bob", key=key)
        assert receipt.facts["removed"]["trajectories"] == 2
        assert engine.verify_receipt(receipt.as_dict(), key=key)
    assert sorted(receipt.facts["copies"]) == ["s~1", "s~2"]
    for name, dim in (("s~1", OLD), ("s~2", NEW)):
        with SonaEngine(dim, database_url, name, config=QUIET, create=False) as kept:
            assert kept.rebuild().equal
            assert kept.forget_plan(user="ann").trajectories == 1
            assert [str(erasure.id) for erasure in kept.erasures()] == [receipt.facts["copies"][name]]
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM sona.trajectories").fetchone() == (3,)
