"""Feedback on its way into the ledger: early, repeated, revised, taken back."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import numpy as np
from fix_ingest import DIM, Space

from sona_pg.ingest import Writer
from sona_pg.recorder import HotPath

OpenWriter = Callable[..., Writer]
Record = Callable[..., uuid.UUID]


def test_feedback_may_come_before_its_trajectory_or_never_get_one(
    hot: HotPath, space: Space, open_writer: OpenWriter
) -> None:
    writer = open_writer(hot)
    trajectory = hot.begin_trajectory(np.ones(DIM, np.float32))
    hot.record_feedback(trajectory.id, quality=0.25)
    hot.record_feedback(uuid.uuid4(), quality=1.0)
    writer.flush(5)
    assert space.count("feedback") == 2
    hot.end_trajectory(trajectory, 1.0)
    writer.flush(5)
    assert space.rows("SELECT trajectory_id, quality FROM sona.outcomes") == [(trajectory.id, 0.25)]


def test_feedback_with_a_sequence_is_stored_once_however_often_it_is_sent(
    hot: HotPath, space: Space, open_writer: OpenWriter
) -> None:
    writer = open_writer(hot, flush_interval=60)
    name = uuid.uuid4()
    for turn in range(3):
        for sequence in (1, 2, 1):
            hot.record_feedback(name, quality=0.5, sequence=sequence)
        writer.flush(5)
        hot.record_feedback(name, quality=0.5, sequence=10 + turn)
    writer.flush(5)
    assert [row[0] for row in space.rows("SELECT sequence FROM sona.feedback ORDER BY 1")] == [1, 2, 10, 11, 12]
    assert space.rows("SELECT sum(feedback) FROM sona.batches") == [(5,)]
    assert writer.stats().feedback == 5


def test_the_last_word_of_a_source_counts_and_can_be_taken_back(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record
) -> None:
    writer = open_writer(hot)
    name = record(hot, quality=0.5)

    def quality() -> float:
        writer.flush(5)
        return float(space.rows("SELECT quality FROM sona.outcomes WHERE trajectory_id = %s", name)[0][0])

    assert quality() == 0.5
    hot.record_feedback(name, quality=0.0)
    assert quality() == 0.0
    hot.record_feedback(name, quality=1.0)
    assert quality() == 1.0
    hot.record_feedback(name, quality=0.0, source="judge")
    assert quality() == 0.5
    hot.record_feedback(name, retract=True)
    hot.record_feedback(name, retract=True, source="judge")
    assert quality() == 0.5
    assert space.count("feedback") == 5


def test_feedback_with_a_sequence_costs_little_wal(hot: HotPath, space: Space, open_writer: OpenWriter) -> None:
    """Three temporary tables a batch were 70 kB of catalog rows in the log."""
    writer = open_writer(hot, flush_interval=60)
    name = uuid.uuid4()

    def write(sequence: int) -> None:
        hot.end_trajectory(hot.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
        hot.record_feedback(name, quality=0.5, sequence=sequence)
        writer.flush(5)

    position = "SELECT pg_current_wal_insert_lsn() - '0/0'"
    for sequence in range(5):
        write(sequence)
    space.execute("CHECKPOINT")
    write(5)  # whole pages, the first time after a checkpoint
    before = space.rows(position)[0][0]
    for sequence in range(6, 26):
        write(sequence)
    assert (space.rows(position)[0][0] - before) / 20 < 8_000
    assert space.count("feedback") == 26
