"""Rows of gates: opened with a version, given evidence, and closed with a judgement."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from sona_pg.config import GateConfig
from sona_pg.domain.gate import Gate, Judgement, OpenGate
from sona_pg.domain.ids import EPOCH
from sona_pg.limits import MOST_INT8
from sona_pg.store.connect import driver_connection
from sona_pg.store.copying import as_ids
from sona_pg.store.states import CHANNEL

MOST_BATCHES, MOST_FACTS = 256, 2000  # that one look reads; later ones come with the next

COLUMNS = ", ".join(f"g.{field.name}" for field in dataclasses.fields(Gate))
LISTING = f"""
SELECT {COLUMNS} FROM sona.version_gates g WHERE g.space_id = %(space)s
ORDER BY g.version DESC, g.opened_at DESC LIMIT %(most)s
"""
OPEN = f"""
SELECT g.space_id, g.looked_batch, g.evidence, {COLUMNS}
FROM sona.version_gates g
WHERE g.space_id = ANY(%(spaces)s::integer[]) AND g.closed_at IS NULL AND EXISTS (
    SELECT FROM sona.batches b
    WHERE b.space_id = g.space_id AND (b.recorded_at, b.batch) > (g.looked_at, g.looked_batch))
"""
STANDING = """
SELECT version, mode, judgement FROM sona.version_gates WHERE space_id = %(space)s AND closed_at IS NULL FOR UPDATE
"""
HOLDING = """
SELECT FROM sona.version_gates WHERE space_id = %(space)s AND closed_at IS NULL AND mode = 'hold' LIMIT 1
"""
INSERT = """
INSERT INTO sona.version_gates
    (space_id, version, mode, reference, margin, confidence, most_decisions, opened_at, looked_at, looked_batch, share)
VALUES (%(space)s, %(version)s, %(mode)s, %(reference)s, %(margin)s, %(confidence)s, %(most)s, %(at)s, %(at)s,
    %(batch)s, %(share)s)
"""
# An accepted version stays accepted.
END = """
UPDATE sona.version_gates SET closed_at = %(at)s,
    judgement = CASE WHEN judgement = 'open' THEN 'ended' ELSE judgement END,
    reason = CASE WHEN judgement = 'open' THEN %(reason)s ELSE reason END
WHERE space_id = %(space)s AND closed_at IS NULL
"""
CANARY = """
UPDATE sona.spaces SET canary_version = %(version)s, canary_share = %(share)s
WHERE space_id = %(space)s AND canary_version IS DISTINCT FROM %(version)s
"""
BY_CANDIDATE = """
SELECT t.id FROM sona.trajectories t
JOIN unnest(%(ids)s::uuid[]) AS judged (id) ON judged.id = t.id
WHERE t.space_id = %(space)s AND t.policy_version = %(version)s
"""
NEW_BATCHES = """
SELECT batch, recorded_at, first_id, last_id, trajectories + feedback FROM sona.batches
WHERE space_id = %(space)s AND (recorded_at, batch) > (%(at)s, %(batch)s)
ORDER BY recorded_at, batch LIMIT %(most)s
"""
# A decision counts when its first outcome arrives, and if a version that is judged has served it.
SERVED = "CASE WHEN t.policy_version IS NULL THEN t.id >= %(since)s ELSE t.policy_version >= %(least)s END"
DECIDED = f"t.route IS NOT NULL AND (t.propensity IS NOT NULL OR t.candidate_set IS NOT NULL) AND {SERVED}"
JUDGED = f"""
SELECT t.id FROM sona.trajectories t
WHERE t.space_id = %(space)s AND t.id BETWEEN %(first)s AND %(last)s AND t.batch = ANY(%(batches)s)
    AND t.quality IS NOT NULL AND {DECIDED}
UNION
SELECT t.id
FROM (
    SELECT DISTINCT f.trajectory_id FROM sona.feedback f
    WHERE f.space_id = %(space)s AND f.batch = ANY(%(batches)s)
) told
JOIN sona.trajectories t ON t.space_id = %(space)s AND t.id = told.trajectory_id
WHERE t.quality IS NULL AND {DECIDED} AND NOT EXISTS (
    SELECT FROM sona.feedback e JOIN sona.batches b ON b.space_id = %(space)s AND b.batch = e.batch
    WHERE e.space_id = %(space)s AND e.trajectory_id = t.id AND (b.recorded_at, b.batch) <= (%(at)s, %(batch)s))
"""
RECORD = """
UPDATE sona.version_gates SET decisions = %(decisions)s, differing = %(differing)s, difference = %(difference)s,
    low = %(low)s, high = %(high)s, evidence = %(evidence)s::jsonb, judgement = %(judgement)s, looked_at = %(at)s,
    looked_batch = %(batch)s
WHERE space_id = %(space)s AND version = %(version)s AND mode = %(mode)s AND closed_at IS NULL
    AND (looked_at, looked_batch) = (%(before)s, %(batch_before)s)
"""
CLOSE = """
UPDATE sona.version_gates SET judgement = %(judgement)s, reason = %(reason)s, closed_at = %(at)s
WHERE space_id = %(space)s AND version = %(version)s AND mode = %(mode)s
"""


class NewBatches(NamedTuple):
    """Batches recorded since a gate's last look."""

    numbers: list[int]
    last: tuple[datetime, int]  # recording time and number of the last one
    span: tuple[UUID, UUID] | None  # of trajectories' ids; None: there are none in them


def listing(connection: Connection, space_id: int, most: int) -> list[Gate]:
    """Return the newest gates of a space, newest first."""
    rows = driver_connection(connection).execute(LISTING, {"space": space_id, "most": most})
    return [Gate(*row) for row in rows]


def with_news(connection: Connection, spaces: Sequence[int]) -> list[OpenGate]:
    """Return the open gates of ``spaces`` with batches that they have not counted."""
    rows = driver_connection(connection).execute(OPEN, {"spaces": list(spaces)})
    return [OpenGate(space_id, Gate(*row), batch, evidence) for space_id, batch, evidence, *row in rows]


def open_gate(
    connection: Connection,
    space_id: int,
    version: int,
    reference: int,
    at: datetime,
    config: GateConfig,
    *,
    hold: bool = False,
) -> None:
    """Open the gate of a version that goes live or is staged, if the settings of the space ask for one.

    A watch that has not accepted its version yet goes on, and judges this one as well: against the same reference.
    """
    raw = driver_connection(connection)
    standing = raw.execute(STANDING, {"space": space_id}).fetchall()
    if not hold and config.mode != "off" and any(known[1:] == ("watch", "open") for known in standing):
        return
    end(connection, space_id, at, f"version {version} was made")
    if config.mode == "off" or not reference:
        return
    raw.execute(
        INSERT,
        {
            "space": space_id, "version": version, "mode": "hold" if hold else "watch", "reference": reference,
            "margin": config.margin, "confidence": config.confidence, "most": config.decisions, "at": at,
            "batch": MOST_INT8, "share": (config.share or None) if hold else None,
        },
    )  # fmt: skip
    if hold and config.share:
        _tell_servers(connection, space_id, version, config.share)


def end(connection: Connection, space_id: int, at: datetime, reason: str) -> None:
    """Close the open gates of a space: its live version has changed otherwise."""
    driver_connection(connection).execute(END, {"space": space_id, "at": at, "reason": reason})
    _tell_servers(connection, space_id, None, None)


def is_open(connection: Connection, gate: OpenGate) -> bool:
    """Whether a gate is still open; it stays so until the transaction ends."""
    standing = driver_connection(connection).execute(STANDING, {"space": gate.space_id})
    return any((version, mode) == (gate.figures.version, gate.figures.mode) for version, mode, _ in standing)


def is_holding(connection: Connection, space_id: int) -> bool:
    """Whether a candidate of the space is being judged."""
    return driver_connection(connection).execute(HOLDING, {"space": space_id}).fetchone() is not None


def gate_config(settings: Mapping[str, Any]) -> GateConfig:
    """Return the settings of the gate among those of a space."""
    part = {name.removeprefix("gate."): value for name, value in settings.items() if name.startswith("gate.")}
    return GateConfig(**part)


def new_batches(connection: Connection, gate: OpenGate) -> NewBatches | None:
    """Return the next batches that a gate has not counted; None if there are none."""
    values = {
        "space": gate.space_id, "at": gate.figures.looked_at, "batch": gate.looked_batch, "most": MOST_BATCHES,
    }  # fmt: skip
    numbers: list[int] = []
    facts, span, last = 0, None, None
    for batch, recorded_at, first, ending, count in driver_connection(connection).execute(NEW_BATCHES, values):
        facts += count
        if numbers and facts > MOST_FACTS:
            break
        numbers.append(batch)
        last = (recorded_at, batch)
        if first is not None:
            span = (first, ending) if span is None else (min(span[0], first), max(span[1], ending))
    return None if last is None else NewBatches(numbers, last, span)


def judged_ids(connection: Connection, gate: OpenGate, new: NewBatches) -> NDArray[np.uint8]:
    """Return the decisions, (n, 16), whose first outcome is in ``new``."""
    known = gate.figures
    since = UUID(int=int((known.opened_at - EPOCH).total_seconds() * 1000) << 80)
    first, last = new.span or (since, since)
    values = {
        "space": gate.space_id, "first": first, "last": last, "batches": new.numbers, "since": since,
        "least": known.version if gate.is_watch else known.reference, "at": known.looked_at, "batch": gate.looked_batch,
    }  # fmt: skip
    rows = driver_connection(connection).execute(JUDGED, values)
    return as_ids(sorted(found.bytes for (found,) in rows))


def of_candidate(connection: Connection, gate: OpenGate, ids: NDArray[np.uint8]) -> frozenset[bytes]:
    """Return which of the decisions ``ids`` (n, 16) were made by the candidate itself, on a canary."""
    if gate.figures.share is None or not len(ids):
        return frozenset()
    values = {
        "space": gate.space_id, "version": gate.figures.version, "ids": [UUID(bytes=row.tobytes()) for row in ids],
    }  # fmt: skip
    return frozenset(found.bytes for (found,) in driver_connection(connection).execute(BY_CANDIDATE, values))


def record(
    connection: Connection, gate: OpenGate, figures: Gate, looked: tuple[datetime, int], evidence: Mapping[str, Any]
) -> bool:
    """Store a gate's figures after a look; return False if another worker was faster, or it was closed."""
    values = {
        "space": gate.space_id, "version": figures.version, "mode": figures.mode, "decisions": figures.decisions,
        "differing": figures.differing, "difference": figures.difference, "low": figures.low, "high": figures.high,
        "evidence": json.dumps(dict(evidence)), "judgement": figures.judgement, "at": looked[0], "batch": looked[1],
        "before": gate.figures.looked_at, "batch_before": gate.looked_batch,
    }  # fmt: skip
    return driver_connection(connection).execute(RECORD, values).rowcount == 1


def close(connection: Connection, gate: OpenGate, judgement: Judgement, reason: str, at: datetime) -> None:
    """Close a gate with a judgement."""
    known = gate.figures
    values = {
        "space": gate.space_id, "version": known.version, "mode": known.mode, "judgement": judgement, "reason": reason,
        "at": at,
    }  # fmt: skip
    driver_connection(connection).execute(CLOSE, values)
    _tell_servers(connection, gate.space_id, None, None)


def _tell_servers(connection: Connection, space_id: int, version: int | None, share: float | None) -> None:
    """Name the candidate that a share of the servers serves, or none; tell them when the transaction commits."""
    raw = driver_connection(connection)
    if raw.execute(CANARY, {"space": space_id, "version": version, "share": share}).rowcount:
        raw.execute("SELECT pg_notify(%s, %s)", [CHANNEL, f"{space_id} {version or 0}"])
