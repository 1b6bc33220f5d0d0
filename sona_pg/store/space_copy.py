"""Copying a space's ledger into another space, batch by batch, with new embeddings.

A batch of the source has the same number in the target, so the remaining work is the batches missing there: an
interrupted copy continues, and batches recorded meanwhile are found. Each batch is one transaction.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, select, text, update

from sona_pg.config import SonaConfig
from sona_pg.config.space_settings import applied
from sona_pg.domain.space import Space
from sona_pg.errors import Conflict, SpaceRemoved
from sona_pg.store import spaces
from sona_pg.store.admin import summaries
from sona_pg.store.connect import driver_connection
from sona_pg.store.leases import now
from sona_pg.store.retirement_store import copy_retired
from sona_pg.store.schema import spaces as space_rows
from sona_pg.store.transactions import reading, transaction

IN_WORK = "~next"  # suffix of a space's name while its copy is being made
LIMIT = text("SET LOCAL lock_timeout = '10s'")

# The other space is read by itself, in a CTE: on Citus it may be on another node.
LEFT = """
WITH taken AS MATERIALIZED (SELECT t.batch FROM sona.batches t WHERE t.space_id = %(target)s)
SELECT b.batch, b.trajectories FROM sona.batches b
WHERE b.space_id = %(source)s AND NOT EXISTS (SELECT FROM taken t WHERE t.batch = b.batch)
ORDER BY b.recorded_at, b.batch
"""
ANY_LEFT = """
WITH taken AS MATERIALIZED (SELECT t.batch FROM sona.batches t WHERE t.space_id = %(target)s)
SELECT b.batch FROM sona.batches b
WHERE b.space_id = %(source)s AND NOT EXISTS (SELECT FROM taken t WHERE t.batch = b.batch) LIMIT 1
"""
CANDIDATES_LEFT = """
WITH taken AS MATERIALIZED (SELECT t.candidate_id FROM sona.candidates t WHERE t.space_id = %(target)s)
SELECT c.candidate_id FROM sona.candidates c
WHERE c.space_id = %(source)s AND NOT EXISTS (SELECT FROM taken t WHERE t.candidate_id = c.candidate_id)
ORDER BY c.slot, c.candidate_id
"""
TEXTS = r"""
SELECT t.id, t.query FROM sona.batches b
JOIN sona.trajectories t ON t.space_id = b.space_id AND t.batch = b.batch AND t.id BETWEEN b.first_id AND b.last_id
WHERE b.space_id = %(source)s AND b.batch = %(batch)s AND t.query ~ '\S'
ORDER BY t.id
"""
# The number of the batch is claimed first: a concurrent copy waits here, and then finds the batch.
MARKER = """
INSERT INTO sona.batches
    (space_id, batch, server_id, first_id, last_id, trajectories, steps, feedback, recorded_at, left_out_by)
SELECT %(target)s, batch, server_id, first_id, last_id, 0, 0, 0, recorded_at, left_out_by
FROM sona.batches WHERE space_id = %(source)s AND batch = %(batch)s
ON CONFLICT DO NOTHING
RETURNING batch
"""
TRAJECTORIES = """
INSERT INTO sona.trajectories (space_id, quality, id, batch, candidate_set, latency_us, propensity, cost, paid,
    lowest_reward, step_count, route, features, context, query, parameters, embedding)
SELECT %(target)s, t.quality, t.id, t.batch, t.candidate_set, t.latency_us, t.propensity, t.cost, t.paid,
    t.lowest_reward, t.step_count, t.route, t.features, t.context, t.query, t.parameters, v.embedding::halfvec
FROM unnest(%(ids)s::uuid[], %(vectors)s::text[]) AS v (id, embedding)
JOIN sona.trajectories t ON t.space_id = %(source)s AND t.id = v.id AND t.id BETWEEN %(first)s AND %(last)s
RETURNING 1
"""
# Activations are vectors of the old model, and have no text.
STEPS = """
INSERT INTO sona.steps (space_id, reward, trajectory_id, offset_us, ordinal, attention)
SELECT %(target)s, s.reward, s.trajectory_id, s.offset_us, s.ordinal, s.attention
FROM unnest(%(ids)s::uuid[]) AS v (id)
JOIN sona.steps s ON s.space_id = %(source)s AND s.trajectory_id = v.id
    AND s.trajectory_id BETWEEN %(first)s AND %(last)s
RETURNING 1
"""
IMPORTED_IDS = """
INSERT INTO sona.imported_ids (space_id, trajectory_id, imported_id, is_timed)
SELECT %(target)s, i.trajectory_id, i.imported_id, i.is_timed
FROM unnest(%(ids)s::uuid[]) AS v (id)
JOIN sona.imported_ids i ON i.space_id = %(source)s AND i.trajectory_id = v.id
ON CONFLICT DO NOTHING
RETURNING 1
"""
FEEDBACK = r"""
INSERT INTO sona.feedback (space_id, quality, trajectory_id, sequence, batch, recorded_at, source, correction,
    paid)
SELECT %(target)s, f.quality, f.trajectory_id, f.sequence, f.batch, f.recorded_at, f.source, f.correction,
    f.paid
FROM sona.feedback f
WHERE f.space_id = %(source)s AND f.batch = %(batch)s AND NOT EXISTS (
    SELECT FROM sona.trajectories t
    WHERE t.space_id = %(source)s AND t.id = f.trajectory_id AND (t.query ~ '\S') IS NOT TRUE
)
RETURNING 1
"""
COUNTED = """
UPDATE sona.batches SET trajectories = %(trajectories)s, steps = %(steps)s, feedback = %(feedback)s
WHERE space_id = %(target)s AND batch = %(batch)s
"""
# Added to the counters of the space: none of its own servers has recorded these rows.
COUNTED_IN_SPACE = """
UPDATE sona.spaces SET departed_trajectories = departed_trajectories + %(trajectories)s,
    departed_feedback = departed_feedback + %(feedback)s
WHERE space_id = %(target)s
"""
# The budget, too: what was spent of it by servers of the source, which keep no more account here, stays spent.
BUDGET = """
WITH known AS MATERIALIZED (
    SELECT s.budget, s.budget_per, s.budget_set_at, s.budget_departed_spent + coalesce(v.spent, 0) AS spent,
        s.budget_departed_requests + coalesce(v.requests, 0) AS requests
    FROM sona.spaces s
    CROSS JOIN LATERAL (
        SELECT sum(o.budget_spent) AS spent, sum(o.budget_requests) AS requests
        FROM sona.servers o WHERE o.space_id = s.space_id AND o.budget_set_at = s.budget_set_at
    ) v
    WHERE s.space_id = %(source)s
)
UPDATE sona.spaces t SET budget = s.budget, budget_per = s.budget_per, budget_set_at = s.budget_set_at,
    budget_departed_spent = s.spent, budget_departed_requests = s.requests
FROM known s
WHERE t.space_id = %(target)s
"""
CANDIDATES = """
INSERT INTO sona.candidates (space_id, candidate_id, recorded_at, group_name, position, embedding)
SELECT %(target)s, c.candidate_id, c.recorded_at, c.group_name, c.position, v.embedding::halfvec
FROM unnest(%(ids)s::text[], %(vectors)s::text[]) AS v (id, embedding)
JOIN sona.candidates c ON c.space_id = %(source)s AND c.candidate_id = v.id
ON CONFLICT DO NOTHING
"""
SETS = """
INSERT INTO sona.candidate_sets (space_id, set_id, candidate_ids, named_at)
SELECT %(target)s, s.set_id, s.candidate_ids, s.named_at FROM sona.candidate_sets s WHERE s.space_id = %(source)s
ON CONFLICT DO NOTHING
"""
CONTENTS = """
INSERT INTO sona.candidate_contents (space_id, candidate_id, content, created_at, updated_at)
SELECT %(target)s, c.candidate_id, c.content, c.created_at, c.updated_at
FROM sona.candidate_contents c WHERE c.space_id = %(source)s
ON CONFLICT (space_id, candidate_id) DO UPDATE SET content = excluded.content, updated_at = excluded.updated_at
WHERE candidate_contents.updated_at < excluded.updated_at
"""
TOTALS = """
SELECT (SELECT count(*) FROM sona.trajectories WHERE space_id = %(space)s),
       (SELECT count(*) FROM sona.feedback WHERE space_id = %(space)s),
       (SELECT count(*) FROM sona.candidates WHERE space_id = %(space)s)
"""
# Rows of the source that the target lacks: it has rows of its own, too.
LEFT_OUT = """
WITH trajectories AS MATERIALIZED (SELECT id FROM sona.trajectories WHERE space_id = %(target)s),
feedback AS MATERIALIZED (SELECT trajectory_id, source, sequence FROM sona.feedback WHERE space_id = %(target)s),
candidates AS MATERIALIZED (SELECT candidate_id FROM sona.candidates WHERE space_id = %(target)s)
SELECT (SELECT count(*) FROM sona.trajectories s WHERE s.space_id = %(source)s
            AND NOT EXISTS (SELECT FROM trajectories t WHERE t.id = s.id)),
       (SELECT count(*) FROM sona.feedback s WHERE s.space_id = %(source)s
            AND NOT EXISTS (SELECT FROM feedback t WHERE t.trajectory_id = s.trajectory_id AND t.source = s.source
                AND t.sequence = s.sequence)),
       (SELECT count(*) FROM sona.candidates s WHERE s.space_id = %(source)s
            AND NOT EXISTS (SELECT FROM candidates t WHERE t.candidate_id = s.candidate_id))
"""


class Totals(NamedTuple):
    """Numbers of rows of a space."""

    trajectories: int
    feedback: int
    candidates: int


class SpaceCopy:
    """A copy of one space into a new one."""

    def __init__(self, engine: Engine, source: Space, target: Space) -> None:
        """Copy into a target that ``begin`` has made or found."""
        self._engine = engine
        self.source = source
        self.target = target
        self._both = {"source": source.space_id, "target": target.space_id}
        self._doing = f"copying space {source.name!r}"

    def left(self) -> list[tuple[int, int]]:
        """Return the batches that the target lacks, oldest first, each with its number of trajectories."""
        with reading(self._engine, self._doing) as connection:
            return [(batch, count) for batch, count in driver_connection(connection).execute(LEFT, self._both)]

    def texts(self, batch: int) -> tuple[list[UUID], list[str]]:
        """Return the trajectories of a batch that have a text, and their texts."""
        with reading(self._engine, self._doing) as connection:
            rows = driver_connection(connection).execute(TEXTS, {**self._both, "batch": batch}).fetchall()
        return [id_ for id_, _ in rows], [query for _, query in rows]

    def copy(self, batch: int, ids: Sequence[UUID], embeddings: NDArray[np.float32]) -> None:
        """Copy a batch with the trajectories ``ids``, with new embeddings (n, dim); do nothing if the target has it.

        Raises:
            SpaceRemoved: one of the two spaces is gone.
        """
        with transaction(self._engine, self._doing) as connection:
            self._hold(connection)
            raw = driver_connection(connection)
            told = {**self._both, "batch": batch, "ids": list(ids), "vectors": _as_text(embeddings)}
            told |= {"first": min(ids, default=None), "last": max(ids, default=None)}
            if not raw.execute(MARKER, told).fetchall():
                return
            counts = {
                "trajectories": raw.execute(TRAJECTORIES, told).rowcount if ids else 0,
                "steps": raw.execute(STEPS, told).rowcount if ids else 0,
                "feedback": raw.execute(FEEDBACK, told).rowcount,
            }
            raw.execute(IMPORTED_IDS, told)
            raw.execute(COUNTED, {**told, **counts})
            raw.execute(COUNTED_IN_SPACE, {**told, **counts})
            summaries.note_anew(raw, self.target.space_id)  # the batch keeps its time

    def candidates_left(self) -> list[str]:
        """Return the ids of candidates that the target lacks."""
        with reading(self._engine, self._doing) as connection:
            return [row[0] for row in driver_connection(connection).execute(CANDIDATES_LEFT, self._both)]

    def copy_candidates(self, ids: Sequence[str], embeddings: NDArray[np.float32]) -> None:
        """Copy candidates with their new embeddings (n, dim)."""
        with transaction(self._engine, self._doing) as connection:
            self._hold(connection)
            told = {**self._both, "ids": list(ids), "vectors": _as_text(embeddings)}
            driver_connection(connection).execute(CANDIDATES, told)

    def copy_sets(self) -> None:
        """Copy candidate sets and contents that the target lacks, and what is newer: contents, retired candidates."""
        with transaction(self._engine, self._doing) as connection:
            self._hold(connection)
            copy_retired(connection, self.source, self.target)
            driver_connection(connection).execute(SETS, self._both)
            driver_connection(connection).execute(CONTENTS, self._both)

    def totals(self) -> tuple[Totals, Totals]:
        """Return the rows of the target, and those of the source that it lacks."""
        with reading(self._engine, self._doing) as connection:
            raw = driver_connection(connection)
            total = raw.execute(TOTALS, {"space": self.target.space_id}).fetchone()
            left_out = raw.execute(LEFT_OUT, self._both).fetchone()
        return Totals(*total or ()), Totals(*left_out or ())

    def switch(self) -> str | None:
        """Give the target the name of the source; return the source's new name, or None while batches are left.

        Servers that have the source open continue to record into it, under its new name.
        """
        with transaction(self._engine, self._doing) as connection:
            connection.execute(LIMIT)
            self._hold(connection, alone=True)
            raw = driver_connection(connection)
            if raw.execute(ANY_LEFT, self._both).fetchone() is not None:
                return None
            name = self.source.name
            kept = _free(connection, name)
            spaces.rename_space(connection, name, kept)
            spaces.rename_space(connection, self.target.name, name)
            raw.execute(BUDGET, self._both)
            return kept

    def _hold(self, connection: Connection, *, alone: bool = False) -> None:
        """Lock both spaces against removal in this transaction; ``alone`` waits for writers, and blocks new ones.

        One by one, in the order of their numbers: they may be on two nodes.
        """
        for space in sorted((self.source, self.target), key=lambda space: space.space_id):
            row = select(space_rows.c.space_id).where(space_rows.c.space_id == space.space_id)
            if connection.scalar(row.with_for_update(read=not alone, key_share=not alone)) is None:
                raise SpaceRemoved(space.name)


def begin(engine: Engine, name: str, dim: int) -> SpaceCopy:
    """Return the copy of a space to ``dim`` dimensions: an interrupted one, or a new one.

    Raises:
        UnknownSpace: there is no space of that name.
        Conflict: a copy to another dimension was begun, or its name is another space's.
    """
    with transaction(engine, f"copying space {name!r}") as connection:
        source = spaces.find_space(connection, name)
        if source is None:
            raise spaces.unknown(connection, name)
        config = applied(SonaConfig(hidden_dim=dim), source.settings)
        known = spaces.find_space(connection, name + IN_WORK)
        target = known or spaces.open_space(connection, name + IN_WORK, dim, now(connection), config=config)
        if known is None:
            of_target = space_rows.c.space_id == target.space_id
            connection.execute(update(space_rows).where(of_target).values(predecessor=source.space_id))
        elif (known.dim, _predecessor(connection, known)) != (dim, source.space_id):
            raise Conflict(
                f"space {known.name!r} with {known.dim} dimensions exists already: finish that copy with {known.dim} "
                f"dimensions, or remove it first: sona-pg space remove {shlex.quote(known.name)} --yes"
            )
    return SpaceCopy(engine, source, target)


def candidates_to_embed(engine: Engine, name: str) -> tuple[Space, list[str]]:
    """Return a space, and the ids of its candidates that ``begin`` would find to copy; nothing is made.

    Raises:
        UnknownSpace: there is no space of that name.
    """
    with reading(engine, f"copying space {name!r}") as connection:
        source = spaces.find_space(connection, name)
        if source is None:
            raise spaces.unknown(connection, name)
        target = spaces.find_space(connection, name + IN_WORK)
        both = {"source": source.space_id, "target": None if target is None else target.space_id}
        return source, [row[0] for row in driver_connection(connection).execute(CANDIDATES_LEFT, both)]


def again(engine: Engine, name: str) -> SpaceCopy:
    """Return the copy that made a space, to fetch the records that its predecessor has received since.

    Raises:
        UnknownSpace: there is no space of that name.
        Conflict: it has no predecessor, or the predecessor was removed.
    """
    with reading(engine, f"copying space {name!r}") as connection:
        target = spaces.find_space(connection, name)
        if target is None:
            raise spaces.unknown(connection, name)
        number = _predecessor(connection, target)
        source = next((space for space in spaces.list_spaces(connection) if space.space_id == number), None)
        if source is None:
            raise Conflict(
                f"space {name!r} was not re-embedded from a space that is still there: nothing is left to take"
            )
    return SpaceCopy(engine, source, target)


def relatives(engine: Engine, space: Space) -> list[Space]:
    """Return the other spaces with copies of the records of ``space``: those it was copied from, and copied to."""
    with reading(engine, f"looking for copies of space {space.name!r}") as connection:
        known = {one.space_id: one for one in spaces.list_spaces(connection)}
        copies = connection.execute(select(space_rows.c.space_id, space_rows.c.predecessor)).all()
    found: set[int] = set()
    more = {space.space_id}
    while more:
        found |= more
        more = {number for pair in copies if found.intersection(pair) for number in pair if number in known} - found
    return [known[number] for number in sorted(found - {space.space_id})]


def _predecessor(connection: Connection, space: Space) -> int | None:
    return connection.scalar(select(space_rows.c.predecessor).where(space_rows.c.space_id == space.space_id))


def _free(connection: Connection, name: str) -> str:
    """Return the first free name of ``name~1``, ``name~2`` …."""
    taken = {space.name for space in spaces.list_spaces(connection)}
    number = 1
    while f"{name}~{number}" in taken:
        number += 1
    return f"{name}~{number}"


def _as_text(vectors: NDArray[np.float32]) -> list[str]:
    return [str(row) for row in np.asarray(vectors, np.float64).tolist()]
