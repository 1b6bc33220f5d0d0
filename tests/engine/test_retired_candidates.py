"""Retired candidates are answered with nowhere until they are restored; what was learned stays."""

from __future__ import annotations

import time

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine, UnknownCandidate
from sona_pg.config import LoopConfig, MaintenanceConfig
from sona_pg.engine.overview import Overview
from sona_pg.worker.reembedding import catch_up, reembed

DIM = 8
IDS = ["red", "100 % \\ 'green'", "blå"]
ROWS = np.eye(3, DIM, dtype=np.float32)
QUIET = SonaConfig(
    loops=LoopConfig(automatic=False, poll_interval=60), maintenance=MaintenanceConfig(automatic=False)
)  # fmt: skip


@pytest.fixture
def engine(database_url):
    with SonaEngine(DIM, database_url, config=QUIET) as opened:
        opened.remember(IDS, ROWS, group="colours")
        opened.flush()
        opened.refresh()
        yield opened


def asked(engine: SonaEngine, row: int, quality: float, **how: object) -> None:
    ranking = engine.rank(ROWS[row], **how)
    handle = engine.begin_trajectory(ROWS[row], ranking=ranking)
    engine.set_trajectory_route(handle, ranking.ids[0])
    engine.end_trajectory(handle, quality)


@pytest.mark.parametrize("is_learned", [False, True])
def test_a_retired_candidate_is_neither_ranked_nor_recalled_until_it_is_restored(engine, is_learned):
    if is_learned:
        asked(engine, 0, 1.0)
        engine.force_learn()
    before = engine.rank(ROWS[0])
    assert before.ids[0] == "red"
    assert engine.rank(ROWS[0], ids=IDS).ids == before.ids
    assert engine.retire_candidates(["red"]) == 1
    left = {IDS[1], IDS[2]}
    assert set(engine.rank(ROWS[0]).ids) == left
    assert set(engine.rank(ROWS[0], ids=IDS).ids) == left
    assert set(engine.rank(ROWS[0], ROWS, ids=IDS).ids) == left
    assert [set(one.ids) for one in engine.rank_many(ROWS[:1])] == [left]
    assert set(engine.recall(ROWS[0]).ids) == left
    assert set(engine.recall(ROWS[0], ids=IDS).ids) == left
    assert list(engine.retired_candidates()) == ["red"]
    assert engine.restore_candidates(["red"]) == 1
    after = engine.rank(ROWS[0])
    assert (after.ids, after.candidate_set) == (before.ids, before.candidate_set)
    assert np.array_equal(after.scores, before.scores)
    assert set(engine.recall(ROWS[0]).ids) == set(IDS)
    assert engine.retired_candidates() == {}


def test_the_ranking_without_it_is_that_of_the_others_alone(engine):
    alone = engine.rank(ROWS[0], ids=IDS[1:])
    engine.retire_candidates(["red"])
    for found in (engine.rank(ROWS[0], ids=IDS), engine.rank(ROWS[0]), engine.rank(ROWS[0], ROWS, ids=IDS)):
        assert (found.ids, found.candidate_set) == (alone.ids, alone.candidate_set)
        assert np.allclose(found.scores, alone.scores)


def test_to_repeat_changes_nothing_and_unknown_ids_are_named(engine):
    assert engine.retire_candidates(IDS[:2]) == 2
    since = engine.retired_candidates()
    assert engine.retire_candidates(IDS) == 1
    assert {name: engine.retired_candidates()[name] for name in since} == since
    assert (engine.restore_candidates(IDS[:1]), engine.restore_candidates(IDS[:1])) == (1, 0)
    for change in (engine.retire_candidates, engine.restore_candidates):
        with pytest.raises(UnknownCandidate, match="'nobody'"):
            change(["red", "nobody"])
    assert set(engine.retired_candidates()) == set(IDS[1:])


def test_nothing_to_choose_among_is_told(engine):
    engine.retire_candidates(IDS)
    for ask in (
        lambda: engine.rank(ROWS[0]),
        lambda: engine.rank(ROWS[0], ids=IDS),
        lambda: engine.rank(ROWS[0], ROWS, ids=IDS),
        lambda: engine.recall(ROWS[0]),
    ):
        with pytest.raises(UnknownCandidate, match="retired"):
            ask()


def test_a_candidate_given_a_moment_ago_can_be_retired_and_stays_so_when_it_is_given_again(engine):
    engine.remember(["new"], ROWS[:1])
    assert engine.retire_candidates(["new"]) == 1
    engine.remember(["new"], ROWS[2:])
    engine.rank(ROWS[0], np.concatenate([ROWS, ROWS[:1]]), ids=[*IDS, "new"])
    engine.flush()
    engine.refresh()
    assert "new" not in engine.rank(ROWS[2]).ids
    assert set(engine.retired_candidates()) == {"new"}


def test_other_servers_hear_of_it_and_those_that_open_later_read_it(engine, database_url):
    """Polling is off for a minute: it is the announcement that is heard."""
    with SonaEngine(DIM, database_url, config=QUIET) as other:
        for change, expected in ((engine.retire_candidates, set(IDS[1:])), (engine.restore_candidates, set(IDS))):
            assert change(["red"]) == 1
            deadline = time.monotonic() + 30
            while set(other.rank(ROWS[0]).ids) != expected:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        engine.retire_candidates(["red"])
    with SonaEngine(DIM, database_url, config=QUIET) as later:
        assert set(later.rank(ROWS[0]).ids) == set(IDS[1:])


def test_what_was_learned_stays_and_a_rebuild_is_equal(engine):
    for row in (0, 1, 2) * 3:
        asked(engine, row, 1.0)
    engine.force_learn()
    engine.retire_candidates(["red"])
    for row in (0, 1):
        asked(engine, row, 0.5, ids=IDS)
    engine.force_learn()
    assert engine.rebuild().equal
    assert engine.version == 2
    engine.rollback(1)  # of what was learned: a false answer does not come back with it
    assert "red" not in engine.rank(ROWS[0]).ids
    engine.restore_candidates(["red"])
    assert engine.rank(ROWS[0]).ids[0] == "red"


def test_a_clock_that_was_set_back_hides_no_change(engine, database_url):
    engine.retire_candidates(["red"])
    with psycopg.connect(database_url) as connection:
        later = "retired_at = now() + interval '1 day'"
        connection.execute(f"UPDATE sona.candidates SET {later} WHERE retired_at IS NOT NULL")
    engine.refresh()
    engine.restore_candidates(["red"])
    assert set(engine.rank(ROWS[0]).ids) == set(IDS)
    engine.retire_candidates([IDS[1]])
    assert IDS[1] not in engine.rank(ROWS[0]).ids


def test_an_engine_opened_during_an_outage_leaves_them_out(proxy):
    with SonaEngine(DIM, proxy.url, config=QUIET) as engine:
        engine.remember(IDS, ROWS)
        asked(engine, 0, 1.0, ids=IDS)
        engine.force_learn()
        engine.retire_candidates(["red"])
    proxy.refuse()
    with SonaEngine(DIM, proxy.url, config=QUIET) as away:
        assert (away.version, set(away.rank(ROWS[0]).ids)) == (1, set(IDS[1:]))
        proxy.accept()
        away.refresh()
        away.restore_candidates(["red"])
        assert set(away.rank(ROWS[0]).ids) == set(IDS)


def test_a_reembedded_space_leaves_out_what_its_source_did(engine, database_url):
    engine.retire_candidates(IDS[:2])
    engine.restore_candidates(IDS[:1])
    database = engine._session.database
    texts = dict.fromkeys(IDS, "a text")
    reembed(database, "default", lambda told: np.ones((len(told), DIM), np.float32), DIM, candidate_texts=texts)
    with SonaEngine(DIM, database_url, config=QUIET) as moved:
        assert set(moved.rank(ROWS[0]).ids) == {IDS[0], IDS[2]}
        moved.restore_candidates([IDS[1]])  # in the new space alone
        engine.retire_candidates([IDS[2]])
        catch_up(database, "default", lambda told: np.ones((len(told), DIM), np.float32), candidate_texts=texts)
        moved.refresh()
        assert set(moved.rank(ROWS[0]).ids) == set(IDS[:2])


def test_the_view_of_all_candidates_says_which_are_retired(engine, database_url):
    engine.retire_candidates(["red"])
    with psycopg.connect(database_url) as connection:
        query = "SELECT candidate_id, retired_at FROM sona.catalog WHERE space = 'default'"
        found = dict(connection.execute(query).fetchall())
    assert found == {IDS[0]: engine.retired_candidates()["red"], IDS[1]: None, IDS[2]: None}


def test_a_version_made_before_shows_it_and_later_ones_do_not(engine, database_url):
    asked(engine, 0, 1.0)
    engine.force_learn()
    engine.retire_candidates(["red"])
    asked(engine, 1, 1.0)
    engine.force_learn()
    overview = Overview(engine)

    def told() -> list[set[str]]:
        now, then, *_ = overview.answers(ROWS[0], [1, 2])
        return [{one.id for one in answer.ranking} for answer in (now, *then)]

    assert told() == [set(IDS[1:]), set(IDS), set(IDS[1:])]
    engine.restore_candidates(["red"])
    assert told() == [set(IDS), set(IDS), set(IDS[1:])]
    engine.retire_candidates(IDS)
    assert told()[0] == set()


def test_a_version_published_in_another_space_brings_no_retired_answer_back(engine, database_url, tmp_path):
    asked(engine, 0, 1.0)
    engine.force_learn()
    engine.retire_candidates(["red", IDS[1]])
    engine.save(tmp_path / "version")
    with SonaEngine(DIM, database_url, "other", config=QUIET) as other:
        other.remember([IDS[1]], ROWS[1:2])
        other.flush()
        other.load(tmp_path / "version", publish=True)
        other.refresh()
        assert set(other.rank(ROWS[0]).ids) == set(IDS[1:])  # what the space had, it decides itself
        assert set(other.retired_candidates()) == {"red"}
