"""Trajectories that are recorded again under a stored id: the first contents stay, others are counted and told."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fix_ingest import DIM, SPACE, Space

from sona_pg.domain.ids import uuid7
from sona_pg.ingest import Writer
from sona_pg.recorder import HotPath

OpenWriter = Callable[..., Writer]
SPOKEN = "trajectories recorded again with other contents"


def record(
    hot: HotPath, id: uuid.UUID, quality: float | None = 0.5, rewards: tuple[float, ...] = (), **told: Any
) -> None:
    t = hot.begin_trajectory(told.pop("embedding", np.ones(DIM, np.float32)), id=id, query=told.pop("query", None))
    for reward in rewards:
        hot.add_step(t, np.ones(DIM, np.float32), np.ones(2, np.float32), reward)
    if "route" in told:
        hot.set_trajectory_route(t, told["route"])
    if "parameters" in told:
        hot.set_trajectory_parameters(t, told["parameters"])
    hot.end_trajectory(t, quality, latency=told.get("latency"))


@pytest.mark.parametrize("durability", ["memory", "spool"])
def test_the_same_contents_are_stored_once_without_a_word(
    hot: HotPath, space: Space, open_writer: OpenWriter, durability: str, caplog: pytest.LogCaptureFixture
) -> None:
    writer, id = open_writer(hot, durability=durability), uuid7()
    with caplog.at_level(logging.WARNING, "sona_pg.ingest"):
        for latency in (0.25, 0.5):  # measured anew
            record(hot, id, 0.5, (0.1, 0.2), route="small", query="why?", parameters={"a": 1}, latency=latency)
            writer.flush(10)
    assert (space.count("trajectories"), space.count("steps")) == (1, 2)
    assert writer.stats().conflicting == 0
    assert caplog.text == ""


@pytest.mark.parametrize(
    "other",
    [{"quality": 0.75}, {"route": "large"}, {"query": "how?"}, {"parameters": {"a": 2}}, {"rewards": (0.1,)},
     {"embedding": -np.ones(DIM, np.float32), "query": None}],
    ids=["quality", "route", "query", "parameters", "steps", "embedding"],
)  # fmt: skip
def test_other_contents_are_counted_and_told(
    hot: HotPath, space: Space, open_writer: OpenWriter, other: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    writer, id = open_writer(hot), uuid7()
    first: dict[str, Any] = {"query": None if "embedding" in other else "why?", "route": "small"}
    record(hot, id, **first)
    writer.flush(10)
    stored = space.rows("SELECT t::text FROM sona.trajectories t")
    with caplog.at_level(logging.WARNING, "sona_pg.ingest"):
        for _ in range(2):
            record(hot, id, **{**first, **other})
            writer.flush(10)
    assert space.rows("SELECT t::text FROM sona.trajectories t") == stored
    assert writer.stats().conflicting == 2
    assert writer.stats().rejected == 0
    assert space.rows("SELECT conflicting FROM sona.servers WHERE space_id = %s", SPACE) == [(2,)]
    assert caplog.text.count(SPOKEN) == 1  # the counter tells of the others
    assert str(id) in caplog.text


def test_a_new_embedder_does_not_make_a_retry_another_trajectory(
    hot: HotPath, space: Space, open_writer: OpenWriter
) -> None:
    writer, id = open_writer(hot), uuid7()
    for sign in (1, -1):
        record(hot, id, query="why?", embedding=sign * np.ones(DIM, np.float32))
        writer.flush(10)
    assert writer.stats().conflicting == 0


def test_steps_of_other_contents_do_not_join_the_stored_ones(
    hot: HotPath, space: Space, open_writer: OpenWriter
) -> None:
    writer, stored, within = open_writer(hot, flush_interval=60), uuid7(), uuid7()
    record(hot, stored, rewards=(0.1,))
    writer.flush(10)
    new = uuid7()
    for id, rewards in ((stored, (0.1, 0.2)), (within, (0.3,)), (within, (0.3, 0.4)), (new, (0.5, 0.6))):
        record(hot, id, rewards=rewards)
    writer.flush(10)
    counted = dict(space.rows("SELECT trajectory_id, count(*) FROM sona.steps GROUP BY 1"))
    assert counted == {stored: 1, within: 1, new: 2}
    assert dict(space.rows("SELECT id, step_count FROM sona.trajectories")) == counted
    assert writer.stats().conflicting == 2
    assert space.rows("SELECT sum(steps) FROM sona.batches") == [(4,)]


def test_other_rewards_are_told_where_their_number_and_the_lowest_stay(
    hot: HotPath, space: Space, open_writer: OpenWriter
) -> None:
    writer, stored, within = open_writer(hot, flush_interval=60), uuid7(), uuid7()
    for id, rewards in ((stored, (0.1, 0.5)), (stored, (0.1, 0.5)), (within, (0.2, 0.5)), (within, (0.2, 0.75))):
        record(hot, id, rewards=rewards)
    writer.flush(10)
    assert writer.stats().conflicting == 1
    record(hot, stored, rewards=(0.1, 0.75))
    writer.flush(10)
    assert writer.stats().conflicting == 2
    assert dict(space.rows("SELECT trajectory_id, max(reward) FROM sona.steps GROUP BY 1")) == {
        stored: 0.5,
        within: 0.5,
    }
