"""Reading the ledger for export: in order of id, a page at a time, so that memory does not grow with the ledger."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from sqlalchemy import ColumnElement, Connection, Engine, Text, case, cast, func, select

from sona_pg.domain.judged import Fact
from sona_pg.domain.ledger_slice import Outcome
from sona_pg.domain.space import Space
from sona_pg.domain.stored_trajectory import StoredStep, StoredTrajectory
from sona_pg.store.candidates import read_sets
from sona_pg.store.claims import EVERYTHING
from sona_pg.store.copying import Spec, among, as_ids, copy_arrays, keys_of
from sona_pg.store.imported_ids import read_between
from sona_pg.store.outcome_rows import outcome_by, read_said
from sona_pg.store.schema import feedback, steps, trajectories
from sona_pg.store.transactions import BRIEF, reading

COLUMNS: Spec = [
    ("id", "uuid"), ("quality", "float4"), ("policy_version", "int8"), ("candidate_set", "int8"),
    ("latency_us", "int4"), ("propensity", "float4"), ("cost", "float4"), ("paid", "float4"), ("route", "text"),
    ("features", "text"), ("context", "text"), ("query", "text"), ("parameters", "text"),
]  # fmt: skip


SAID: Spec = [("id", "uuid"), ("quality", "float4"), ("route", "text"), ("query", "text")]


class RecordedContents(NamedTuple):
    """The parts of a trajectory that a file of logs tells, as they were recorded."""

    quality: float | None  # by its shortest digits
    route: str | None
    query: str | None
    facts: Sequence[Fact] = ()


class Selection(NamedTuple):
    """Which trajectories to read, and how much of them."""

    first: UUID  # least id
    end: UUID  # ids below this one
    embeddings: bool = False
    steps: bool = True
    rankings: bool = False  # only those answered from candidates, with the answer and the query's text


class ExportStore:
    """Reads trajectories of a space in order of id."""

    def __init__(self, engine: Engine) -> None:
        """Read from the database of ``engine``."""
        self._engine = engine

    def page(self, space: Space, wanted: Selection, rows: int) -> list[StoredTrajectory]:
        """Return the first ``rows`` trajectories from ``wanted.first`` on, fewer only at the end."""
        with reading(self._engine, "exporting trajectories") as connection:
            return _page(connection, space, wanted, rows)

    def stored(self, space: Space, ids: Sequence[bytes]) -> frozenset[bytes]:
        """Return those among ``ids`` that are in the ledger."""
        if not ids:
            return frozenset()
        query = select(trajectories.c.id).where(
            trajectories.c.space_id == space.space_id, among(trajectories.c.id, as_ids(ids))
        )
        with reading(self._engine, "looking for known rows") as connection:
            values, _ = copy_arrays(connection, query, [("id", "uuid")])
        return frozenset(keys_of(values["id"]))

    def recorded(self, space: Space, ids: Sequence[UUID]) -> dict[UUID, RecordedContents]:
        """Return what is recorded of each of ``ids`` that is there, feedback included."""
        wanted = as_ids([id_.bytes for id_ in ids])
        query = select(trajectories.c.id, trajectories.c.quality, trajectories.c.route, trajectories.c.query).where(
            trajectories.c.space_id == space.space_id, among(trajectories.c.id, wanted)
        )
        about = (feedback.c.space_id == space.space_id) & among(feedback.c.trajectory_id, wanted)
        with reading(self._engine, "comparing imported rows") as connection:
            values, nulls = copy_arrays(connection, query, SAID)
            facts = read_said(connection, space.space_id, about, (), EVERYTHING)
        columns = (_listed(values[name], nulls[name]) for name, *_ in SAID[1:])
        rows = zip(keys_of(values["id"]), *columns, strict=True)
        return {
            UUID(bytes=key): RecordedContents(quality, route, text, facts.get(key, ()))
            for key, quality, route, text in rows
        }

    def said(self, space: Space, trajectory: UUID) -> Sequence[Fact]:
        """Return all facts about a trajectory, which may not have arrived yet."""
        about = (feedback.c.space_id == space.space_id) & (feedback.c.trajectory_id == trajectory)
        with reading(self._engine, "reading feedback about a trajectory", BRIEF) as connection:
            return read_said(connection, space.space_id, about, (), EVERYTHING).get(trajectory.bytes, ())


def _page(connection: Connection, space: Space, wanted: Selection, rows: int) -> list[StoredTrajectory]:
    values, nulls = _rows(connection, space, wanted, rows)
    keys = keys_of(values["id"])
    if not keys:
        return []
    ids = [UUID(bytes=key) for key in keys]
    facts = read_said(connection, space.space_id, _of(space, "feedback", ids), (), EVERYTHING)
    told = _steps(connection, space, ids) if wanted.steps else {}
    sets = read_sets(
        connection, space.space_id, [int(number) for number in np.unique(values["candidate_set"]) if number]
    )
    columns = {name: _listed(values[name], nulls[name]) for name, *_ in COLUMNS[1:]}
    imported = read_between(connection, space, ids[0], ids[-1])
    found = []
    for place, (key, id_) in enumerate(zip(keys, ids, strict=True)):
        row = {name: column[place] for name, column in columns.items()}
        said = sorted(facts.get(key, ()), key=lambda fact: (fact.source, fact.sequence))
        found.append(
            StoredTrajectory(
                id=id_,
                query=row["query"],
                route=row["route"],
                quality=row["quality"],
                latency_us=row["latency_us"],
                cost=row["cost"],
                paid=row["paid"],
                propensity=row["propensity"],
                features=[float(value) for value in row["features"].split(",")] if row["features"] else [],
                version=row["policy_version"],
                candidates=sets.get(row["candidate_set"], ()) if row["candidate_set"] else None,
                context=json.loads(row["context"] or "[]"),
                parameters=json.loads(row["parameters"] or "{}"),
                steps=told.get(key, ()),
                facts=said,
                outcome=_outcome(row, said),
                imported_id=imported.get(id_),
                embedding=_embedding(values, nulls, place) if wanted.embeddings else None,
            )
        )
    return found


def _rows(connection: Connection, space: Space, wanted: Selection, rows: int) -> tuple[dict[str, Any], dict[str, Any]]:
    columns: list[ColumnElement[Any]] = [
        trajectories.c.id, trajectories.c.quality, trajectories.c.policy_version, trajectories.c.candidate_set,
        trajectories.c.latency_us, trajectories.c.propensity, trajectories.c.cost, trajectories.c.paid,
        trajectories.c.route, func.array_to_string(trajectories.c.features, ",").label("features"),
        cast(func.to_jsonb(trajectories.c.context), Text).label("context"), trajectories.c.query,
        cast(trajectories.c.parameters, Text).label("parameters"),
    ]  # fmt: skip
    spec = list(COLUMNS)
    if wanted.embeddings:
        fits = func.vector_dims(trajectories.c.embedding) == space.dim
        columns.append(case((fits, trajectories.c.embedding)).label("embedding"))
        spec.append(("embedding", "halfvec", space.dim))
    query = select(*columns).where(
        trajectories.c.space_id == space.space_id, trajectories.c.id >= wanted.first, trajectories.c.id < wanted.end
    )
    if wanted.rankings:
        query = query.where(
            trajectories.c.candidate_set.is_not(None),
            trajectories.c.propensity.is_(None),
            trajectories.c.route.is_not(None),
            trajectories.c.query.is_not(None),
        )
    return copy_arrays(connection, query.order_by(trajectories.c.id).limit(rows), spec)


def _steps(connection: Connection, space: Space, ids: list[UUID]) -> dict[bytes, list[StoredStep]]:
    query = (
        select(
            steps.c.trajectory_id,
            steps.c.offset_us,
            steps.c.reward,
            cast(steps.c.activations, Text).label("activations"),
            cast(steps.c.attention, Text).label("attention"),
        )
        .where(_of(space, "steps", ids))
        .order_by(steps.c.trajectory_id, steps.c.ordinal)
    )
    spec: Spec = [
        ("trajectory_id", "uuid"), ("offset_us", "int4"), ("reward", "float4"), ("activations", "text"),
        ("attention", "text"),
    ]  # fmt: skip
    values, nulls = copy_arrays(connection, query, spec)
    columns = [_listed(values[name], nulls[name]) for name, *_ in spec[1:]]
    told: dict[bytes, list[StoredStep]] = defaultdict(list)
    for key, offset, reward, first, second in zip(keys_of(values["trajectory_id"]), *columns, strict=True):
        told[key].append(StoredStep(offset, reward or 0.0, _numbers(first), _numbers(second)))
    return told


def _of(space: Space, table: str, ids: list[UUID]) -> ColumnElement[bool]:
    """Return the condition that rows of ``table`` belong to trajectories from the first to the last of ``ids``."""
    columns = trajectories.metadata.tables[f"sona.{table}"].c
    return (columns.space_id == space.space_id) & columns.trajectory_id.between(ids[0], ids[-1])


def _outcome(row: dict[str, Any], said: list[Fact]) -> Outcome:
    if said:
        return outcome_by(row["route"], row["quality"], said, row["paid"])
    return Outcome(row["quality"], paid=row["paid"])


def _embedding(values: dict[str, Any], nulls: dict[str, Any], place: int) -> Any:
    return None if nulls["embedding"][place] else values["embedding"][place].astype(np.float16)


def _listed(values: Any, missing: Any) -> list[Any]:
    """Return a column as Python values, real numbers by their shortest digits, None where it is null."""
    listed = [float(str(value)) for value in values] if values.dtype == np.float32 else values.tolist()
    for place in np.flatnonzero(missing):
        listed[place] = None
    return listed


def _numbers(text: str | None) -> list[float] | None:
    return None if text is None else json.loads(text)
