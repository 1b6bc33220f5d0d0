"""Logged decisions of a space: the newest, with candidates, outcomes, and whether a version had learned from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, exists, select

from sona_pg.domain.ledger_slice import Outcome, Trajectories
from sona_pg.store.candidates import read_sets
from sona_pg.store.claims import EVERYTHING, not_held_by
from sona_pg.store.copying import copy_arrays, keys_of
from sona_pg.store.outcome_rows import read_outcomes
from sona_pg.store.schema import batches, trajectories
from sona_pg.store.trajectory_rows import read_by_id


class LoggedDecisions(NamedTuple):
    """Trajectories whose route was drawn with a known probability, oldest first."""

    trajectories: Trajectories
    outcomes: list[Outcome]
    sets: dict[int, list[str]]  # the routes of each candidate set


def read_decisions(connection: Connection, space_id: int, dim: int, limit: int) -> LoggedDecisions:
    """Return the newest ``limit`` decisions of a space."""
    newest = (
        select(trajectories.c.id)
        .where(
            trajectories.c.space_id == space_id,
            trajectories.c.propensity.is_not(None),
            trajectories.c.route.is_not(None),
        )
        .order_by(trajectories.c.id.desc())
        .limit(limit)
    )
    found, _ = copy_arrays(connection, newest, [("id", "uuid")])
    stored = read_by_id(connection, space_id, dim, found["id"], EVERYTHING)
    named = [int(value) for value in np.unique(stored.candidate_sets) if value]
    return LoggedDecisions(
        stored,
        read_outcomes(connection, space_id, stored, EVERYTHING),
        dict(read_sets(connection, space_id, named)),
    )


def not_learned_by(connection: Connection, space_id: int, version: int, stored: Trajectories) -> NDArray[np.bool_]:
    """Return (n,) flags of the decisions ``stored`` whose batches ``version`` had not learned from."""
    if not len(stored):
        return np.zeros(0, bool)
    ids = stored.uuids()
    new_to_it = exists().where(
        batches.c.space_id == space_id, batches.c.batch == trajectories.c.batch, not_held_by(space_id, version)
    )
    query = select(trajectories.c.id).where(
        trajectories.c.space_id == space_id,
        trajectories.c.id >= ids[0],
        trajectories.c.id <= ids[-1],
        trajectories.c.propensity.is_not(None),  # decisions only: other trajectories may be a hundred times as many
        new_to_it,
    )
    found, _ = copy_arrays(connection, query, [("id", "uuid")])
    new = set(keys_of(found["id"]))
    return np.array([key in new for key in keys_of(stored.ids)])
