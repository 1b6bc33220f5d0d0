"""Judged queries of sessions as a slice of the ledger, for learners that count recent evidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sona_pg.domain.ledger_slice import LedgerSlice, Steps, Trajectories
from sona_pg.serving.judged_queries import KnownQuery

Told = Sequence[tuple[bytes, KnownQuery]]  # by the trajectory's id


def recent_slice(told: Told, dim: int) -> LedgerSlice:
    """Return the queries in the order of their ids, with what counts of each; batches and steps are not told."""
    told = sorted(told, key=lambda one: one[0])
    fresh = [one for one in told if one[1].is_new]
    revised = [one for one in told if not one[1].is_new]
    steps = Steps(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, dim), np.float32), np.zeros(0, np.bool_))
    return LedgerSlice(
        batches=(),
        fresh=_trajectories(fresh, dim),
        steps=steps,
        outcomes=[query.outcome for _, query in fresh],
        revised=_trajectories(revised, dim),
        before=[query.learned_outcome for _, query in revised],
        after=[query.outcome for _, query in revised],
        feedback=0,
        waiting=0,
        unreadable=(),
        revised_steps=steps,
    )


def _trajectories(told: Told, dim: int) -> Trajectories:
    queries, unknown = [query for _, query in told], np.full(len(told), np.nan)
    quality = [np.nan if query.at_end is None else query.at_end for query in queries]
    return Trajectories(
        ids=np.frombuffer(b"".join(id_ for id_, _ in told), np.uint8).reshape(-1, 16),
        embeddings=np.array([query.query for query in queries], np.float32).reshape(len(told), dim),
        quality=np.array(quality, np.float64),
        latency_us=unknown,
        propensity=unknown,
        candidate_sets=np.array([query.candidate_set for query in queries], np.int64),
        cost=unknown,
        features=np.zeros((len(told), 0), np.float32),
        routes=[query.route for query in queries],
        queries=[None] * len(told),
        lowest_reward=unknown,
        parameters=[None] * len(told),
        paid=unknown,
        sessions=[query.session for query in queries],
    )
