"""Ids of trajectories by the spans and responses of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from sona_pg.domain.telemetry_keys import (
    TelemetryClaim,
    TelemetryKeys,
    owner_key,
    sharing_key,
    taken_by_response_key,
    taken_by_span_key,
)
from sona_pg.store import leases
from sona_pg.store.transactions import BRIEF, transaction

LOCK = 0x736F6E65  # 'sone', with the space's number: one claim at a time, or none sees the rows of another
HOLD = text("SELECT space_id FROM sona.spaces WHERE space_id = :space FOR KEY SHARE")  # against its removal
TAKE_TURNS = text("SELECT pg_advisory_xact_lock(:lock, :space)")
KNOWN = text("""
SELECT key, trajectory_id FROM sona.telemetry_ids WHERE space_id = :space AND key = ANY (CAST(:keys AS bytea[]))
""")
CLAIM = text("""
INSERT INTO sona.telemetry_ids (space_id, key, trajectory_id, recorded_at)
SELECT :space, told.key, told.id, :at
FROM unnest(CAST(:keys AS bytea[]), CAST(:ids AS uuid[])) AS told (key, id) ORDER BY told.key
ON CONFLICT (space_id, key) DO UPDATE SET trajectory_id = excluded.trajectory_id, recorded_at = excluded.recorded_at
""")


AMBIGUOUS = (
    "an evaluation names a gen_ai.response.id that spans of several traces have, and the span of none of them: "
    "parent it to the span that it evaluates"
)
MISTAKEN = (
    "an evaluation in this span's trace came before the span, and counts for another trace's span of the same "
    "gen_ai.response.id: send spans first, or let a response have an id of its own"
)


class TelemetryStore:
    """Gives a span and its evaluations one trajectory, on whichever server they are first heard of.

    Spans of one trace that share a response are one trajectory (two instrumentations tell of one call); those of
    different traces are several. ``owner_key`` holds the trace whose span has the response, ``sharing_key`` another
    trace that has it too: rows of the same table, with a UUID of that trace in place of a trajectory.

    An evaluation that comes before its span keeps one trajectory for the span that it is in and for the response that
    it names. The first of the two that comes takes it, under ``taken_by_span_key`` or ``taken_by_response_key``; the
    other, an agent's span above that of the response, say, has a trajectory of its own.
    """

    def __init__(self, engine: Engine) -> None:
        """Ask the database of ``engine``."""
        self._engine = engine

    def claim(self, space_id: int, wanted: Sequence[tuple[TelemetryKeys, UUID]]) -> list[TelemetryClaim]:
        """Return a trajectory's id for each item: the one that its keys are known by, else the one offered."""
        with transaction(self._engine, "finding trajectories of telemetry", BRIEF) as connection:
            if connection.execute(HOLD, {"space": space_id}).first() is None:
                raise leases.missing(space_id)
            connection.execute(TAKE_TURNS, {"lock": LOCK, "space": space_id})
            responses = [keys.response for keys, _ in wanted if keys.response is not None]
            traces = {key for response in responses for key in (owner_key(response), sharing_key(response))}
            named = sorted(traces.union(*(keys.named for keys, _ in wanted)))
            known = _known(connection, space_id, named)
            taken = {key(id_) for id_ in known.values() for key in (taken_by_span_key, taken_by_response_key)}
            known |= _known(connection, space_id, sorted(taken)) if taken else {}
            ids = dict(known)
            found = [_of_evaluation(*one, ids) if one[0].trace is None else _of_span(*one, ids) for one in wanted]
            new = {key: id_ for key, id_ in ids.items() if known.get(key) != id_}
            if new:
                told = {"space": space_id, "at": leases.now(connection), "keys": list(new), "ids": [*new.values()]}
                connection.execute(CLAIM, told)
        return found


def _known(connection: Connection, space_id: int, keys: Sequence[bytes]) -> dict[bytes, UUID]:
    """Return what those of some keys stand for that are kept."""
    rows = connection.execute(KNOWN, {"space": space_id, "keys": keys})
    return {bytes(row.key): row.trajectory_id for row in rows}


def _of_span(keys: TelemetryKeys, offered: UUID, ids: dict[bytes, UUID]) -> TelemetryClaim:
    """Return the trajectory of a span, and add its keys to ``ids``."""
    if keys.response is None or keys.trace is None:
        return _claim(ids, _first(ids, keys.span) or _of_its_evaluation(keys, ids) or offered, keys.span)
    first = owner_key(keys.response) not in ids
    if ids.setdefault(owner_key(keys.response), keys.trace) == keys.trace:
        found = _first(ids, keys.span)
        if found is None and (not first or not _is_of_other_span(ids, keys.response)):
            found = _first(ids, keys.response)
            if first and found is not None:
                ids[taken_by_response_key(found)] = found
        found = found or _of_its_evaluation(keys, ids) or offered
        if first:
            ids[keys.response] = found
            if keys.response_in_trace in ids:
                ids[keys.response_in_trace] = found
        return _claim(ids, found, keys.span)
    ids[sharing_key(keys.response)] = keys.trace
    # Not the owner's trajectory, which this span's key may stand for since an evaluation that came before both spans.
    owners = ids.get(keys.response)
    named = None if _is_of_other_span(ids, keys.response_in_trace) else _first(ids, keys.response_in_trace)
    found = next((id_ for id_ in (_first(ids, keys.span), named) if id_ is not None and id_ != owners), offered)
    if found == named:
        ids[taken_by_response_key(found)] = found
    is_mistaken = keys.response_in_trace is not None and ids.get(keys.response_in_trace) == owners
    return _claim(ids, found, keys.span, keys.response_in_trace)._replace(doubt=MISTAKEN if is_mistaken else "")


def _of_evaluation(keys: TelemetryKeys, offered: UUID, ids: dict[bytes, UUID]) -> TelemetryClaim:
    """Return the trajectory that an evaluation is about, and add to ``ids`` the keys that its span will look for."""
    if keys.response is None:
        return _claim(ids, _first(ids, keys.span) or _of_its_evaluation(keys, ids) or offered, keys.span)
    certain = _first(ids, keys.span, keys.response_in_trace)
    if keys.span in ids and ids.get(keys.response) != certain:
        return TelemetryClaim(certain)  # which no span of the response may have as well
    if certain is None and sharing_key(keys.response) in ids:
        return TelemetryClaim(None, AMBIGUOUS)
    found = certain or ids.get(keys.response, offered)
    if keys.response_in_trace is not None:
        ids.setdefault(keys.response_in_trace, found)
    if owner_key(keys.response) not in ids:
        ids.setdefault(keys.response, found)
        if keys.evaluated_span is not None:
            ids.setdefault(keys.evaluated_span, found)
    return TelemetryClaim(found)


def _of_its_evaluation(keys: TelemetryKeys, ids: dict[bytes, UUID]) -> UUID | None:
    """Return, and take, the trajectory of an evaluation in this span that named a response, unless it is taken."""
    found = _first(ids, keys.evaluated_span)
    if found is None or taken_by_span_key(found) in ids or taken_by_response_key(found) in ids:
        return None
    ids[taken_by_span_key(found)] = found
    return found


def _is_of_other_span(ids: Mapping[bytes, UUID], response: bytes | None) -> bool:
    """Return whether the trajectory that an evaluation kept for a response was taken by the evaluation's span."""
    found = _first(ids, response)
    return found is not None and taken_by_span_key(found) in ids


def _first(ids: Mapping[bytes, UUID], *keys: bytes | None) -> UUID | None:
    """Return what the first key that is known stands for."""
    return next((ids[key] for key in keys if key is not None and key in ids), None)


def _claim(ids: dict[bytes, UUID], found: UUID, *keys: bytes | None) -> TelemetryClaim:
    """Have some keys stand for the trajectory that was found."""
    ids.update((key, found) for key in keys if key is not None)
    return TelemetryClaim(found)
