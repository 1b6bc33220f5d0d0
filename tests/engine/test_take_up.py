"""Taking up a version that another server published: what is served, and what it costs the database."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig, PatternConfig

DIM = 8
ROWS = np.eye(DIM, dtype=np.float32)
CONFIG = SonaConfig(
    hidden_dim=DIM,
    loops=LoopConfig(automatic=False),
    patterns=PatternConfig(clusters=2, min_size=2),
    maintenance=MaintenanceConfig(automatic=False),
)


def teach(engine: SonaEngine, ids: list[str]) -> None:
    """Name the last of ``ids`` as right, five times, and learn."""
    for _ in range(5):
        ranking = engine.rank(ROWS[0], ROWS[: len(ids)], ids=ids)
        handle = engine.begin_trajectory(ROWS[0], ranking=ranking)
        engine.set_trajectory_route(handle, ranking.ids[0])
        engine.end_trajectory(handle)
        engine.feedback(handle, correction=ids[-1])
    engine.force_learn()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that this thread sends from now on."""
    sent: list[str] = []
    own = threading.get_ident()

    def noted(send):
        def sending(self, query, *args, **kwargs):
            if threading.get_ident() == own:
                sent.append(str(query))
            return send(self, query, *args, **kwargs)

        return sending

    for name in ("execute", "copy"):
        monkeypatch.setattr(psycopg.Cursor, name, noted(getattr(psycopg.Cursor, name)))
    return sent


def test_a_version_of_another_server_is_read_in_few_statements(database_url, asked):
    with SonaEngine(DIM, database_url, config=CONFIG) as one, SonaEngine(DIM, database_url, config=CONFIG) as other:
        teach(one, ["a", "b", "c"])
        other.refresh()
        teach(one, ["a", "b", "c", "d"])
        session = other._session
        asked.clear()
        read = session._read(2)
        assert 1 <= len(asked) <= 2, "\n".join(asked)  # version; new candidates
        assert (read.version, list(read.catalog.ids)) == (2, ["a", "b", "c", "d"])
        assert other.refresh() == 2
        teach(one, ["a", "b", "c", "d"])
        asked.clear()
        assert session._read(3).version == 3
        assert len(asked) == 1, "\n".join(asked)


def test_a_version_whose_content_an_earlier_release_did_not_keep_is_served_from_the_live_tables(database_url):
    with SonaEngine(DIM, database_url, config=CONFIG) as one:
        for _ in range(3):
            teach(one, ["a", "b"])
        with psycopg.connect(database_url) as connection:
            connection.execute("DELETE FROM sona.version_patterns")
            connection.execute("DELETE FROM sona.version_contents")
        with SonaEngine(DIM, database_url, config=CONFIG) as other:
            assert other.version == 3
            assert other._session.serving.patterns
            ours, theirs = one._session.serving, other._session.serving
            assert [dataclasses.asdict(p) | {"centroid": p.centroid.tolist()} for p in theirs.patterns] == [
                dataclasses.asdict(p) | {"centroid": p.centroid.tolist()} for p in ours.patterns
            ]
            assert theirs.state.routes == ours.state.routes


def test_batches_that_a_version_has_learned_are_not_read_after_it(database_url):
    """They were announced with their commit, and wait to be read when the version is taken up."""
    with SonaEngine(DIM, database_url, config=CONFIG) as one, SonaEngine(DIM, database_url, config=CONFIG) as other:
        session = other._session
        session.runtime.follower.leave(session)
        teach(one, ["a", "b"])
        with psycopg.connect(database_url) as connection:
            ((batch,),) = connection.execute("SELECT max(batch) FROM sona.batches").fetchall()
        session.note_judged(batch)
        assert session._feed.has_news
        assert session.held.take_up(1, session._read, session._learned)
        assert not session._feed.has_news


def test_embeddings_that_changed_come_with_the_new_candidates(database_url):
    """What another server knows of a catalog is read again only where it changed."""
    with SonaEngine(DIM, database_url, config=CONFIG) as one, SonaEngine(DIM, database_url, config=CONFIG) as other:
        teach(one, ["a", "b", "c"])
        other.refresh()
        other._session.held.take_up = lambda *_: False  # not before the embedding is changed
        teach(one, ["a", "b", "c", "d"])
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "UPDATE sona.candidates SET embedding = %s::halfvec, changed_at = clock_timestamp()"
                " WHERE candidate_id = 'b'",
                [str(list(map(float, ROWS[7])))],
            )
        catalog = other._session._read(2).catalog
        assert list(catalog.ids) == ["a", "b", "c", "d"]
        assert np.array_equal(catalog.halves[1], ROWS[7].astype(np.float16))
        assert np.array_equal(catalog.halves[[0, 2, 3]], ROWS[[0, 2, 3]].astype(np.float16))
