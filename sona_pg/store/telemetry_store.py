"""Ids of trajectories by the spans and responses of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from sona_pg.domain.telemetry_keys import (
    TelemetryClaim,
    TelemetryKeys,
    again_key,
    arrived_key,
    early_key,
    owner_key,
    sharing_key,
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
MIXED = (
    "an evaluation came before the span that it is in; of two in this span one names a gen_ai.response.id and one does "
    "not, so they may be about two spans: name the response in both, or send spans first"
)
MISPLACED = (
    "an evaluation in this span named a gen_ai.response.id that no span has yet, and waits for the span that has it: "
    "give this span its gen_ai.response.id if it is this one's, or leave it out of evaluations"
)
OVERTAKEN = (
    "evaluations came before this span, some by its gen_ai.response.id and some by its span id; those by the response "
    "are not counted: send spans first, or name spans in one way"
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

    An evaluation that names a response is about the span of that response, whichever span it is in: an agent's or a
    judge's may be evaluated for what a model answered beneath it. Only one that names none is about the span that it is
    in. So the order of arrival decides nothing; what it would decide is refused.
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
            states = {key(id_) for id_ in known.values() for key in (early_key, arrived_key)}
            known |= _known(connection, space_id, sorted(states)) if states else {}
            ids = dict(known)
            found = [_of_span(*one, ids) if one[0].inference else _of_evaluation(*one, ids) for one in wanted]
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
        found, doubt, again = _of_key(ids, keys.span) or offered, "", False
    elif ids.get(owner_key(keys.response), keys.trace) == keys.trace:
        found, doubt, again = _of_owner(keys, keys.response, keys.trace, offered, ids)
    else:
        found, doubt, again = _of_sharing(keys, keys.response, keys.trace, offered, ids)
    if keys.response is None and _is_early(ids, keys.evaluated_span):
        doubt = MISPLACED
    if early_key(found) in ids:
        ids[arrived_key(found)] = found
    if keys.span is not None:
        ids[keys.span] = found
        if again := again or again_key(keys.span) in ids:
            ids[again_key(keys.span)] = found
    return TelemetryClaim(found, doubt, again)


def _of_owner(
    keys: TelemetryKeys, response: bytes, trace: UUID, offered: UUID, ids: dict[bytes, UUID]
) -> tuple[UUID, str, bool]:
    """Return the trajectory of a span in the trace that had its response first, a doubt, and whether it was told of."""
    own, named = _of_key(ids, keys.span), ids.get(response)
    found = own or named or offered
    if owner_key(response) in ids:
        return found, "", own is None and found == named
    ids[owner_key(response)], ids[response] = trace, found
    if keys.response_in_trace in ids:
        ids[keys.response_in_trace] = found
    return found, "" if named in (None, found) else OVERTAKEN, False


def _of_sharing(
    keys: TelemetryKeys, response: bytes, trace: UUID, offered: UUID, ids: dict[bytes, UUID]
) -> tuple[UUID, str, bool]:
    """Return the same of a span whose response another trace had first."""
    own, named = _of_key(ids, keys.span), _of_key(ids, keys.response_in_trace)
    is_mistaken = named is not None and named == ids.get(response)  # of an evaluation that came before both spans
    found = own or (offered if named is None or is_mistaken else named)
    again = own is None and found == named and ids.get(sharing_key(response)) == trace
    ids[sharing_key(response)] = trace
    if keys.response_in_trace is not None:
        ids[keys.response_in_trace] = found
    return found, MISTAKEN if is_mistaken else "", again


def _of_evaluation(keys: TelemetryKeys, offered: UUID, ids: dict[bytes, UUID]) -> TelemetryClaim:
    """Return the trajectory that an evaluation is about, and add to ``ids`` the keys that its span will look for."""
    if keys.response is not None:
        return _of_named_response(keys, keys.response, offered, ids)
    found = _of_key(ids, keys.span)
    if found is None and _of_key(ids, keys.evaluated_span) is not None:
        return TelemetryClaim(None, MIXED)
    if found is None and keys.span is not None:
        found = ids[keys.span] = ids[early_key(offered)] = offered
    return TelemetryClaim(found)


def _of_named_response(keys: TelemetryKeys, response: bytes, offered: UUID, ids: dict[bytes, UUID]) -> TelemetryClaim:
    owner = ids.get(owner_key(response))
    found = ids.get(response) if owner is not None and owner == keys.trace else _of_key(ids, keys.response_in_trace)
    if found is None and sharing_key(response) in ids:
        return TelemetryClaim(None, AMBIGUOUS)
    if found is None and response not in ids and _is_early(ids, keys.span):
        return TelemetryClaim(None, MIXED)
    found = found or ids.get(response, offered)
    if keys.response_in_trace is not None:
        ids.setdefault(keys.response_in_trace, found)
    if owner is None:
        if response not in ids:
            ids[response] = ids[early_key(found)] = found
        if keys.evaluated_span is not None and keys.span not in ids:
            ids.setdefault(keys.evaluated_span, found)
    return TelemetryClaim(found)


def _is_early(ids: Mapping[bytes, UUID], key: bytes | None) -> bool:
    """Return whether a key stands for a trajectory of which evaluations alone have told."""
    found = _of_key(ids, key)
    return found is not None and early_key(found) in ids and arrived_key(found) not in ids


def _of_key(ids: Mapping[bytes, UUID], key: bytes | None) -> UUID | None:
    """Return what a key stands for, None if it is not known."""
    return None if key is None else ids.get(key)
