"""Recall: a match brings its neighbours in its conversation, on every server, before and after learning."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg import DimensionMismatch, InvalidValue, SonaConfig, SonaEngine, UnknownCandidate
from sona_pg.config import LoopConfig, MaintenanceConfig

DIM = 8
QUIET = SonaConfig(
    loops=LoopConfig(automatic=False, poll_interval=60), maintenance=MaintenanceConfig(automatic=False)
)  # fmt: skip
TALK = ["hello", "question", "answer", "thanks"]
OTHER = ["unrelated", "far"]
ROWS = np.eye(len(TALK) + len(OTHER), DIM, dtype=np.float32)
ASKED = ROWS[1] + 0.15 * ROWS[4]  # nearest to the question, then to a turn of the other conversation


def told(engine: SonaEngine) -> None:
    engine.remember(TALK, ROWS[:4], group="talk")
    engine.remember(OTHER, ROWS[4:], group="other")


def test_the_turn_after_the_match_comes_before_a_better_match_elsewhere(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        told(engine)
        assert engine.rank(ASKED, k=2).ids == ("question", "unrelated")
        found = engine.recall(ASKED, k=3)
        assert found.ids == ("question", "answer", "hello") or found.ids == ("question", "hello", "answer")
        assert list(found.scores) == sorted(found.scores, reverse=True)
        assert engine.recall(ASKED, ids=["question", "far"], k=9).ids == ("question", "far")


def test_every_server_knows_the_order_once_it_is_committed(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as one, SonaEngine(DIM, database_url, config=QUIET) as other:
        told(one)
        one.flush()
        other.refresh()
        assert other.recall(ASKED, k=3).ids == one.recall(ASKED, k=3).ids
        one.remember(["addition"], ROWS[5:6] + ROWS[3:4], group="talk")
        one.flush()
        other.refresh()
        order = other._session.database.candidate_order(other._session.space)
        assert [name for name, group, _ in order if group == "talk"] == [*TALK, "addition"]
        assert other.recall(ROWS[3], k=2).ids == one.recall(ROWS[3], k=2).ids
    with SonaEngine(DIM, database_url, config=QUIET) as later:
        assert set(later.recall(ASKED, k=3).ids) == {"question", "answer", "hello"}


def test_a_candidate_moves_to_the_group_that_was_told_last(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        told(engine)
        engine.remember(["answer"], ROWS[2:3], group="other")
        assert engine.recall(ASKED, k=3).ids[1] != "answer"
        engine.flush()
        engine._session.recaller.read()
        assert engine.recall(ASKED, k=3).ids[1] != "answer"
        assert engine._session.database.candidate_order(engine._session.space)[-1][:2] == ("thanks", "talk")


def test_feedback_on_what_was_recalled_teaches_the_ranker(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        told(engine)
        for _ in range(20):
            ranking = engine.recall(ASKED, k=6)
            t = engine.begin_trajectory(ASKED, ranking=ranking)
            engine.set_trajectory_route(t, "thanks")
            engine.end_trajectory(t, quality=1.0)
        engine.force_learn()
        assert engine.recall(ASKED, k=1).ids == ("thanks",)
        assert engine.rebuild().equal


def test_a_thumb_and_a_correction_count_with_the_next_recall_on_every_server(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as one, SonaEngine(DIM, database_url, config=QUIET) as other:
        told(one)
        one.flush()
        other.refresh()
        asked = ROWS[4] + 0.9 * ROWS[5]
        assert other.recall(asked, k=1).ids == ("unrelated",)
        t = one.begin_trajectory(asked, ranking=one.recall(asked, k=6))
        one.set_trajectory_route(t, "unrelated")
        one.end_trajectory(t, quality=0.0)
        assert one.recall(asked, k=1).ids == ("far",)
        one.feedback(t, correction="far")
        one.flush()
        other.refresh()
        assert other.recall(asked, k=1).ids == ("far",)
        assert other.version == 0
        one.feedback(t, correction="unrelated")
        assert one.recall(asked, k=1).ids == ("unrelated",)


def test_what_came_before_the_query_is_accepted_and_bad_context_is_named(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        with pytest.raises(UnknownCandidate, match="any candidate"):
            engine.recall(ASKED)
        told(engine)
        assert engine.recall(ASKED, context=[ROWS[4], ROWS[5]]).ids[0] == "question"
        with pytest.raises(DimensionMismatch, match="context"):
            engine.recall(ASKED, context=[np.ones(3)])
        with pytest.raises(InvalidValue, match="expected a list of embeddings"):
            engine.recall(ASKED, context="before")
        with pytest.raises(InvalidValue, match="all 0"):
            engine.recall(np.zeros(DIM))
        with pytest.raises(InvalidValue, match="expected text without a NUL"):
            engine.remember(["x"], ROWS[:1], group="")
        with pytest.raises(UnknownCandidate, match="'nobody'"):
            engine.recall(ASKED, ids=["nobody"])


def test_an_order_told_later_and_elsewhere_arrives(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as one, SonaEngine(DIM, database_url, config=QUIET) as other:
        one.remember([*TALK, *OTHER], ROWS)
        one.flush()
        other.refresh()
        assert other.recall(ASKED, k=2).ids == ("question", "unrelated")
        one.remember(TALK, ROWS[:4], group="talk")
        one.flush()
        other.refresh()
        assert set(other.recall(ASKED, k=3).ids) == {"question", "answer", "hello"}
        other.remember(["question", "far"], ROWS[[1, 5]], group="later")
        other.flush()
        one.refresh()
        assert one.recall(ASKED, k=2).ids == other.recall(ASKED, k=2).ids == ("question", "far")


def test_the_length_of_an_embedding_changes_nothing(database_url: str) -> None:
    lengths = np.array([[3.0], [0.2], [40.0], [1.0], [7.0], [0.5]], np.float32)
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        told(engine)
        before = engine.recall(ASKED, k=6, context=[ROWS[4]])
        engine.remember([*TALK, *OTHER], ROWS * lengths)
        after = engine.recall(9 * ASKED, k=6, context=[5 * ROWS[4]])
    assert after.ids == before.ids
    assert np.allclose(after.scores, before.scores, atol=0.02)
