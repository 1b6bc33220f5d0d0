"""Outcomes: the quality of each trajectory by all its feedback."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, select

from sona_pg.domain.judged import Fact
from sona_pg.domain.ledger_slice import Outcome, Trajectories
from sona_pg.store.claims import Claim, Horizon
from sona_pg.store.copying import Spec, among, as_ids, copy_arrays, is_number_of, keys_of
from sona_pg.store.schema import feedback

Facts = Mapping[bytes, Sequence[Fact]]  # by the trajectory's id


def read_facts(
    connection: Connection, space_id: int, claim: Claim, fresh: NDArray[np.uint8], horizon: Horizon
) -> Facts:
    """Return the visible feedback on ``fresh`` (n, 16) and on every trajectory with new feedback."""
    about = set(keys_of(fresh))
    if claim.feedback:
        arrived, _ = copy_arrays(
            connection,
            select(feedback.c.trajectory_id).where(
                feedback.c.space_id == space_id, is_number_of(feedback.c.batch, claim.batches)
            ),
            [("trajectory_id", "uuid")],
        )
        about.update(keys_of(arrived["trajectory_id"]))
    if not about:
        return {}
    condition = (feedback.c.space_id == space_id) & among(feedback.c.trajectory_id, as_ids(sorted(about)))
    return read_said(connection, space_id, condition, claim.batches, horizon)


def read_outcomes(connection: Connection, space_id: int, stored: Trajectories, horizon: Horizon) -> list[Outcome]:
    """Return the outcome of each stored trajectory by its visible feedback."""
    if not len(stored):
        return []
    condition = (feedback.c.space_id == space_id) & among(feedback.c.trajectory_id, stored.ids)
    return outcomes_of(stored, read_said(connection, space_id, condition, (), horizon))


def outcomes_of(stored: Trajectories, facts: Facts) -> list[Outcome]:
    """Return each trajectory's outcome, as the view ``sona.outcomes`` defines it."""
    at_end = _none_where(np.isnan(stored.quality), stored.quality)
    paid = _none_where(np.isnan(stored.paid), stored.paid)
    outcomes = [Outcome(quality, paid=cost) for quality, cost in zip(at_end, paid, strict=True)]
    if facts:
        for row, key in enumerate(keys_of(stored.ids)):
            if said := facts.get(key):
                outcomes[row] = outcome_by(stored.routes[row], at_end[row], said, paid[row])
    return outcomes


def read_said(
    connection: Connection,
    space_id: int,
    condition: ColumnElement[bool],
    claimed: Sequence[int],
    horizon: Horizon,
) -> dict[bytes, list[Fact]]:
    """Return the feedback that meets a condition, by trajectory; new is what is in a claimed batch."""
    query = select(
        feedback.c.trajectory_id,
        feedback.c.source,
        feedback.c.sequence,
        feedback.c.quality,
        feedback.c.correction,
        feedback.c.paid,
        feedback.c.batch,
    ).where(condition)
    spec: Spec = [
        ("trajectory_id", "uuid"), ("source", "text"), ("sequence", "int8"), ("quality", "float4"),
        ("correction", "text"), ("paid", "float4"), ("batch", "int8"),
    ]  # fmt: skip
    values, nulls = copy_arrays(connection, query, spec)
    rows = zip(
        keys_of(values["trajectory_id"]),
        values["source"].tolist(),
        values["sequence"].tolist(),
        _none_where(nulls["quality"], values["quality"]),
        values["correction"].tolist(),
        _none_where(nulls["paid"], values["paid"]),
        np.isin(values["batch"], claimed).tolist(),
        horizon.sees(connection, space_id, values["batch"]).tolist(),
        strict=True,
    )
    facts: dict[bytes, list[Fact]] = defaultdict(list)
    for key, source, sequence, quality, correction, paid, new, seen in rows:
        if seen:
            facts[key].append(Fact(source, sequence, quality, correction, new, paid))
    return facts


def outcome_by(route: str | None, at_end: float | None, facts: Sequence[Fact], paid: float | None = None) -> Outcome:
    """Return the outcome of a trajectory with ``facts``, at least one."""
    said: dict[str, list[float]] = {}  # by source, oldest first, after its last retraction
    corrections: dict[str, str | None] = {}
    told = [(fact.sequence, fact.source, fact.paid) for fact in facts if fact.paid is not None]
    paid = max(told)[2] if told else paid
    for fact in sorted(facts, key=lambda fact: (fact.source, fact.sequence)):  # fixed order: sums depend on it
        if fact.paid is not None and fact.quality is None and fact.correction is None:
            continue  # it tells the cost alone
        corrections[fact.source] = fact.correction
        if fact.correction is not None:
            said.setdefault(fact.source, []).append(float(fact.correction == route))
        elif fact.quality is not None:
            said.setdefault(fact.source, []).append(fact.quality)
        else:
            said.pop(fact.source, None)
    if not said:
        return Outcome(at_end, paid=paid)
    earlier = [quality for history in said.values() for quality in history[:-1]]
    if at_end is not None:
        earlier.append(at_end)
    named = [name for name in corrections.values() if name is not None]
    return Outcome(
        quality=float(np.mean([history[-1] for history in said.values()])),
        correction=max(named, default=None),
        is_replaced=route is not None and any(name != route for name in named),
        worst=min(earlier, default=None),
        paid=paid,
    )


def _none_where(missing: NDArray[np.bool_], values: NDArray[Any]) -> list[float | None]:
    listed: list[float | None] = values.tolist()
    for row in np.flatnonzero(missing):
        listed[row] = None
    return listed
