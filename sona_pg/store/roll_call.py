"""Polling of many spaces with one statement each: live versions, candidates, heartbeats, unlearned facts.

On Citus only these statements ask every node: once a poll of a process, never on a request's path. A thousand idle
spaces hardly ever have news: a poll first reads a digest of all rows, and the rows only if the digest has changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple, Self
from uuid import UUID

import psycopg
from sqlalchemy import Connection

from sona_pg.domain.budget import Budget
from sona_pg.domain.gate import Canary
from sona_pg.store import budgets
from sona_pg.store.candidates import CandidateSignal
from sona_pg.store.connect import driver_connection
from sona_pg.store.fleet import canary_of
from sona_pg.store.leases import now
from sona_pg.store.topology import FEW, narrowed

DIGEST = """
SELECT clock_timestamp(),
       count(*) || ' ' || coalesce(sum(hashtextextended(
           CASE WHEN s.budget_set_at IS NULL AND s.canary_version IS NULL THEN s.live_version || ' ' || s.name
               ELSE concat_ws(' ', s.live_version, s.name, s.budget, s.budget_set_at, s.canary_version) END,
           s.space_id + (extract(epoch FROM s.created_at) * 1000000)::bigint)), 0)
FROM sona.spaces s WHERE s.space_id = ANY(%(spaces)s::integer[])
"""
# `= ANY` rather than a join: Citus asks only the nodes of these spaces.
LIVE_VERSIONS = """
SELECT s.space_id, s.live_version, s.name, s.created_at, s.canary_version, s.canary_share,
       s.budget, s.budget_per, s.budget_set_at
FROM sona.spaces s WHERE s.space_id = ANY(%(spaces)s::integer[])
"""
SIGNAL = """
       (SELECT max(c.slot) FROM sona.candidates c WHERE c.space_id = s.space_id),
       (SELECT count(*) FROM sona.candidates c WHERE c.space_id = s.space_id AND c.slot IS NULL),
       (SELECT max(c.changed_at) FROM sona.candidates c WHERE c.space_id = s.space_id),
       (SELECT max(coalesce(c.restored_at, c.retired_at)) FROM sona.candidates c
        WHERE c.space_id = s.space_id AND c.retired_at IS NOT NULL),
       (SELECT b.batch FROM sona.batches b
        WHERE b.space_id = s.space_id AND b.cycle_id IS NULL AND b.left_out_by IS NULL
        ORDER BY b.recorded_at DESC, b.batch DESC LIMIT 1)
"""
SIGNALS = f"SELECT s.space_id, {SIGNAL} FROM sona.spaces s WHERE s.space_id = ANY(%(spaces)s::integer[])"
SIGNALS_DIGEST = f"""
SELECT count(*) || ' ' || coalesce(sum(hashtextextended(
    coalesce(told.slot, -1) || ' ' || told.new || ' ' || coalesce(extract(epoch FROM told.changed), 0)
        || ' ' || coalesce(extract(epoch FROM told.retired), 0) || ' ' || coalesce(told.newest, -1), told.id)), 0)
FROM ({SIGNALS}) AS told (id, slot, new, changed, retired, newest)
"""
HEARTBEATS = """
UPDATE sona.servers s SET seen_at = %(at)s, serving_version = told.version, skew_ms = %(skew)s
FROM unnest(%(spaces)s::integer[], %(servers)s::uuid[], %(versions)s::bigint[]) AS told (space_id, server_id, version)
WHERE s.space_id = told.space_id AND s.server_id = told.server_id AND s.space_id = ANY(%(spaces)s::integer[])
"""
# The two of them for spaces of which something was announced.
NEWS = f"""
SELECT clock_timestamp(), s.space_id, s.live_version, s.name, s.created_at, s.canary_version, s.canary_share,
       s.budget, s.budget_per, s.budget_set_at, {SIGNAL}
FROM sona.spaces s WHERE s.space_id = ANY(%(spaces)s::integer[])
"""
OF_FEW = {statement: narrowed(statement) for statement in (SIGNALS, SIGNALS_DIGEST, NEWS)}
REGISTERED = """
SELECT s.server_id
FROM unnest(%(spaces)s::integer[], %(servers)s::uuid[]) AS told (space_id, server_id)
JOIN sona.servers s ON s.space_id = told.space_id AND s.server_id = told.server_id
WHERE s.space_id = ANY(%(spaces)s::integer[])
"""
WAITING = """
SELECT b.space_id, sum(b.trajectories + b.feedback)
FROM sona.batches b
WHERE b.space_id = ANY(%(spaces)s::integer[]) AND b.cycle_id IS NULL AND b.left_out_by IS NULL
GROUP BY b.space_id
"""


class Signal(NamedTuple):
    """What a server may have to read of a space."""

    of_candidates: CandidateSignal
    newest: int | None  # batch that no cycle has learned from


class Beat(NamedTuple):
    """Heartbeat of one server of one space."""

    space_id: int
    server_id: UUID
    version: int  # served version


@dataclass(frozen=True, slots=True)
class SpaceIds:
    """Numbers of spaces, with their array as SQL text: writing it costs more than sending it."""

    ids: tuple[int, ...]
    array: str

    @classmethod
    def of(cls, ids: Iterable[int]) -> Self:
        """Return each of ``ids`` once, in order."""
        known = tuple(sorted(set(ids)))
        return cls(known, _array(known))

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Beats:
    """Heartbeats sent together, with the arrays of their statement as SQL text."""

    beats: tuple[Beat, ...]
    arrays: Mapping[str, str]

    @classmethod
    def of(cls, beats: Iterable[Beat]) -> Self:
        """Return ``beats`` with their arrays."""
        told = tuple(beats)
        columns = zip(*told, strict=True) if told else ((), (), ())
        return cls(told, dict(zip(("spaces", "servers", "versions"), map(_array, columns), strict=True)))

    def __len__(self) -> int:
        return len(self.beats)


class Look(NamedTuple):
    """Question of one poll of many spaces."""

    spaces: SpaceIds
    signals: SpaceIds | None = None  # read the candidate signals of these
    beats: Beats | None = None
    skew_ms: float | None = None  # milliseconds by which this machine's clock is ahead, for the heartbeats
    known: str | None = None  # digest of an earlier poll of the same spaces: rows are read if it has changed
    known_signals: str | None = None
    is_news: bool = False  # of at least one: all is read in one statement, without digests and heartbeats


class RollCall(NamedTuple):
    """Result of one poll of many spaces."""

    at: datetime  # by the database's clock, when the poll began
    live: dict[int, int] | None  # live version by space, a missing one was removed; None: no news
    names: Mapping[int, str] = MappingProxyType({})  # names of the existing spaces
    made: Mapping[int, datetime] = MappingProxyType({})  # when the existing spaces were made
    budgets: Mapping[int, Budget] = MappingProxyType({})  # of those that have one
    canaries: Mapping[int, Canary] = MappingProxyType({})  # of those that have one
    signals: Mapping[int, Signal] | None = None  # by space; None: no news, or not read
    unknown: Collection[UUID] = ()  # servers whose heartbeat was sent and whose row was deleted
    digest: str | None = None
    signals_digest: str | None = None


def call_roll(connection: Connection, look: Look) -> RollCall:
    """Poll many spaces, and send heartbeats; one statement each, and a second one for news."""
    raw = driver_connection(connection)
    asked = {"spaces": look.spaces.array}
    if look.is_news:
        rows = raw.execute(_fitting(NEWS, look.spaces), asked).fetchall()
        known = [row[1:] for row in rows]
        at = rows[0][0] if rows else now(connection)
        heard = _with_spaces(RollCall(at, None), [row[:9] for row in known])
        return heard._replace(signals={row[0]: _signal(*row[9:]) for row in known})
    at, digest = _row(raw, DIGEST, asked)
    heard = RollCall(at, None, digest=digest)
    if look.beats:
        heard = heard._replace(unknown=_send(raw, look.beats, at, look.skew_ms))
    if digest != look.known:
        heard = _with_spaces(heard, raw.execute(LIVE_VERSIONS, asked).fetchall())
    if look.signals:
        asked = {"spaces": look.signals.array}
        (signals_digest,) = _row(raw, _fitting(SIGNALS_DIGEST, look.signals), asked)
        heard = heard._replace(signals_digest=signals_digest)
        if signals_digest != look.known_signals:
            rows = raw.execute(_fitting(SIGNALS, look.signals), asked).fetchall()
            heard = heard._replace(signals={space: _signal(*told) for space, *told in rows})
    return heard


def _fitting(statement: str, spaces: SpaceIds) -> str:
    return OF_FEW[statement] if len(spaces) <= FEW else statement


def _with_spaces(heard: RollCall, there: Sequence[tuple[Any, ...]]) -> RollCall:
    """Return a result with the rows of the existing spaces."""
    return heard._replace(
        live={space: version for space, version, *_ in there},
        names={space: name for space, _, name, *_ in there},
        made={space: made_at for space, _, _, made_at, *_ in there},
        budgets={space: known for space, *_, a, b, c in there if (known := budgets.of_row(a, b, c)) is not None},
        canaries={
            space: canary
            for space, _, _, _, version, share, *_ in there
            if (canary := canary_of(version, share)) is not None
        },
    )


def _signal(
    slot: int | None, new: int, changed: datetime | None, retired: datetime | None, newest: int | None
) -> Signal:
    return Signal(CandidateSignal(0 if slot is None else slot + 1, new, changed, retired), newest)


def waiting_facts(connection: Connection, spaces: SpaceIds) -> dict[int, int]:
    """Return the number of unlearned trajectories and facts by space; spaces without any are left out."""
    rows = driver_connection(connection).execute(WAITING, {"spaces": spaces.array})
    return {space: int(facts) for space, facts in rows}


def _send(raw: psycopg.Connection[Any], beats: Beats, at: datetime, skew_ms: float | None) -> Collection[UUID]:
    """Send heartbeats; return the servers whose row was deleted."""
    if raw.execute(HEARTBEATS, {"at": at, "skew": skew_ms, **beats.arrays}).rowcount == len(beats):
        return ()
    return {beat.server_id for beat in beats.beats}.difference(
        server for (server,) in raw.execute(REGISTERED, dict(beats.arrays))
    )


def _row(raw: psycopg.Connection[Any], query: str, values: Mapping[str, Any]) -> tuple[Any, ...]:
    found: tuple[Any, ...] | None = raw.execute(query, values).fetchone()
    assert found is not None  # an aggregate has a row
    return found


def _array(values: Sequence[object]) -> str:
    return "{" + ",".join(map(str, values)) + "}"
