"""Why an answer has its value: the facts near it, each left out in turn, exactly as a rebuild without it would."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.domain.ids import made_at, uuid7
from sona_pg.domain.influence import Explanation, Influence
from sona_pg.domain.space import Space
from sona_pg.errors import InvalidValue, UnknownCandidate
from sona_pg.learning.answer_value import AnswerKind, value_of
from sona_pg.learning.knowledge import router_of
from sona_pg.learning.vectors import unit as unit_rows
from sona_pg.store.database import Database
from sona_pg.worker.left_out import PastInMemory


def explain(
    database: Database,
    space: Space,
    config: SonaConfig,
    kind: AnswerKind,
    name: str,
    query: NDArray[np.float32],
    *,
    most: int,
    near: int,
    seconds: float,
) -> Explanation:
    """Return the facts that moved the value of an answer most; learners wait while the past is read.

    Args:
        database: the store.
        space: the space.
        config: settings of this process; learning settings are the space's at each version.
        kind: of the answer.
        name: the candidate or the route.
        query: (dim,) that was answered.
        most: how many facts are returned.
        near: how many are tried: those whose queries are nearest.
        seconds: after which no other one is tried.

    Raises:
        UnknownCandidate: the live version has no such candidate.
        InvalidValue: it has no such route.
        Conflict: the history is too long to be learned again in memory.
    """
    until = time.monotonic() + seconds
    with database.learning_unit(space, uuid7()) as unit:
        assert unit is not None
        version = unit.live_version
        past = PastInMemory(database, unit, space, config)
    found = _nearest(past, query, near)
    known = past.learn({place for _, place, _ in found})
    if kind == "candidate" and name not in past.catalog.index:
        raise UnknownCandidate(f"version {version} of space {space.name!r} knows no candidate {name!r}")
    if kind == "route" and name not in router_of(known.state, past.config).names:
        raise InvalidValue(f"version {version} of space {space.name!r} knows no route {name!r}")
    value = value_of(known, past.catalog, past.config, kind, name, query)
    influences = []
    for similarity, place, row in found:
        claimed = past.inputs[place].claimed
        assert claimed is not None
        id_ = claimed.fresh.uuids()[row]
        left = past.without(id_.bytes, place)
        without = value_of(left, past.catalog, past.config, kind, name, query)
        quality = past.outcome_of(place, row).quality
        told = (claimed.fresh.routes[row], claimed.fresh.queries[row], quality)
        influences.append(Influence(id_, made_at(id_), similarity, *told, without, value - without))
        if time.monotonic() > until:
            break
    tried = len(influences)
    influences.sort(key=lambda one: -abs(one.effect))
    return Explanation(kind, name, value, version, influences[:most], tried, len(found), past.start)


def _nearest(past: PastInMemory, query: NDArray[np.float32], most: int) -> list[tuple[float, int, int]]:
    """Return similarity, input and row of the new trajectories nearest to ``query``, nearest first."""
    direction = unit_rows(query[None, :])[0]
    found: list[tuple[float, int, int]] = []
    for place, one in enumerate(past.inputs):
        if one.claimed is not None and len(one.claimed.fresh):
            near = unit_rows(one.claimed.fresh.embeddings) @ direction
            best = np.argsort(-near, kind="stable")[:most]
            found += [(float(near[row]), place, row) for row in best.tolist()]
    return sorted(found, key=lambda told: (-told[0], told[1], told[2]))[:most]
