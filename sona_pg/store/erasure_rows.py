"""Erasure in the ledger: removal of a subject's rows, tombstones for late ones, and the versions that held them."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.errors import InsufficientPrivilege
from psycopg.types.json import Jsonb
from sqlalchemy import Connection

from sona_pg.domain.erasure import Erasure, ErasurePlan, Subject
from sona_pg.store import states
from sona_pg.store.connect import driver_connection
from sona_pg.store.erasure_statements import (
    ANY_BETWEEN,
    CLEAN,
    COUNT_FEEDBACK,
    COUNT_LATE,
    COUNT_LESS,
    DROP_CONTENTS,
    DROP_HOLDING,
    EXPIRED,
    FIGURES,
    FIND,
    FINISH,
    FIRST_VERSION,
    HASHED,
    INSERT,
    LATE,
    LATE_BATCHES,
    LIST,
    LIST_HOLDING,
    ONE,
    READ_LESS,
    RECOUNT,
    REMOVE,
    REMOVE_FEEDBACK,
    UNFINISHED,
    WRITTEN,
)

log = logging.getLogger(__name__)


class SubjectRows(NamedTuple):
    """Rows of a subject in the ledger."""

    ids: list[UUID]
    batches: list[int]  # of each
    steps: list[int]  # of each


def find(connection: Connection, space_id: int, subject: Subject) -> SubjectRows:
    """Return the trajectories of a subject, by id. Labels have no index: it reads the context of all of the space."""
    values = _values(space_id, list(subject.ids), subject.label)
    rows = driver_connection(connection).execute(FIND[subject.label is not None], values).fetchall()
    return SubjectRows([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def plan(connection: Connection, space_id: int, subject: Subject) -> ErasurePlan:
    """Return what an erasure would remove and drop."""
    raw = driver_connection(connection)
    found = find(connection, space_id, subject)
    values = _values(space_id, found.ids, subject.label)
    first = _first_version(raw, space_id, found.batches)
    facts = _one(raw, COUNT_FEEDBACK, values)
    held = raw.execute(LIST_HOLDING, {"space": space_id, "first": first, "kept": 0}).fetchall() if first else []
    versions = tuple(version for (version,) in held)
    gone = expired(connection, space_id)
    return ErasurePlan(len(found.ids), sum(found.steps), facts, first, versions, gone, tuple(_written(raw, values)))


def expired(connection: Connection, space_id: int) -> int:
    """Return the number of learned trajectories that retention has removed from the ledger."""
    return _one(driver_connection(connection), EXPIRED, {"space": space_id})


def remove(
    connection: Connection,
    space_id: int,
    subject: Subject,
    erasure_id: UUID,
    until: UUID,
    at: datetime,
    *,
    drop_contents: bool,
) -> None:
    """Remove all rows of a subject, and note the erasure; in one transaction, under ``lock_space``.

    ``drop_contents``: also the contents of the candidates that the subject has probably written.
    """
    raw = driver_connection(connection)
    live = states.lock_space(connection, space_id)
    found = find(connection, space_id, subject)
    written = _written(raw, _values(space_id, found.ids, subject.label)) if drop_contents else []
    removed = _remove(raw, space_id, found, subject.label, at)
    if drop_contents:
        dropped = raw.execute(DROP_CONTENTS, {"space": space_id, "written": written}).rowcount
        removed["candidate_contents"] = dropped
    learned = _first_version(raw, space_id, found.batches)
    newest = states.newest(connection, space_id, live)[0]  # a running cycle may make it, from what it has read before
    raw.execute(INSERT, {
        "space": space_id, "erasure": erasure_id, "kind": subject.kind, "hashes": subject.hashes(erasure_id),
        "until": until, "first": min(learned or newest, newest), "at": at, "removed": Jsonb(removed),
    })  # fmt: skip


def remove_late(connection: Connection, space_id: int, at: datetime) -> int:
    """Remove unlearned records of erased subjects that arrived after their erasure; return their number."""
    raw = driver_connection(connection)
    count = 0
    for *row, batches in raw.execute(LATE_BATCHES, {"space": space_id}).fetchall():
        erasure = _erasure(row)
        rows = raw.execute(LATE, {"space": space_id, "batches": batches, "until": erasure.until_id}).fetchall()
        gone = [row for row in rows if erasure.covers(row[0], row[3])]
        if gone:
            _remove(
                raw, space_id, SubjectRows(*(list(column) for column in list(zip(*gone, strict=True))[:3])), None, at
            )
            raw.execute(COUNT_LATE, {"space": space_id, "erasure": erasure.id, "count": len(gone)})
        count += len(gone)
    return count


def has_late(connection: Connection, space_id: int) -> bool:
    """Return whether batches have arrived after an erasure with records from before it."""
    return _allowed(connection, f"SELECT EXISTS ({LATE_BATCHES})", {"space": space_id})


def any_between(connection: Connection, space_id: int, served: int, version: int) -> bool:
    """Return whether an erasure has published ``version``, or one between it and the ``served`` one."""
    values = {"space": space_id, "served": served, "version": version}
    return _allowed(connection, ANY_BETWEEN, values)


def clean_versions(connection: Connection, space_id: int, first_version: int, release: str) -> list[int]:
    """Return the versions before ``first_version`` from which a rebuild can go on, ascending."""
    values = {"space": space_id, "first": first_version, "release": release}
    return [version for (version,) in driver_connection(connection).execute(CLEAN, values)]


def drop_versions(connection: Connection, space_id: int, first_version: int, kept: int) -> list[int]:
    """Delete all versions from ``first_version`` on but ``kept``, and count what the cycles hold now."""
    raw = driver_connection(connection)
    values = {"space": space_id, "first": first_version, "kept": kept}
    gone = sorted(version for (version,) in raw.execute(DROP_HOLDING, values).fetchall())
    for statement in RECOUNT:
        raw.execute(statement, {"space": space_id})
    return gone


def finish(connection: Connection, space_id: int, erasure_id: UUID, receipt: dict[str, Any], at: datetime) -> None:
    """Note that the learned state is free of what an erasure removed, with the receipt."""
    values = {"space": space_id, "erasure": erasure_id, "receipt": Jsonb(receipt), "at": at}
    driver_connection(connection).execute(FINISH, values)


def listing(connection: Connection, space_id: int, limit: int) -> list[Erasure]:
    """Return the latest erasures, newest first."""
    rows = driver_connection(connection).execute(LIST, {"space": space_id, "limit": limit})
    return [_erasure(row) for row in rows]


def unfinished(connection: Connection, space_id: int) -> list[Erasure]:
    """Return the erasures whose influence is not removed yet, oldest first."""
    return [_erasure(row) for row in driver_connection(connection).execute(UNFINISHED, {"space": space_id})]


def read(connection: Connection, space_id: int, erasure_id: UUID) -> Erasure | None:
    """Return an erasure; None if the space has none of this id."""
    row = driver_connection(connection).execute(ONE, {"space": space_id, "erasure": erasure_id}).fetchone()
    return None if row is None else _erasure(row)


def _remove(
    raw: psycopg.Connection[Any], space_id: int, found: SubjectRows, label: str | None, at: datetime
) -> dict[str, int]:  # fmt: skip
    values = _values(space_id, found.ids, label) | {"at": at}
    facts = Counter(dict(raw.execute(REMOVE_FEEDBACK, values).fetchall()))
    removed = {name: raw.execute(statement, values).rowcount for name, statement in REMOVE.items()}
    trajectories = Counter(found.batches)
    steps: Counter[int] = Counter()
    for batch, count in zip(found.batches, found.steps, strict=True):
        steps[batch] += count
    named = sorted({*trajectories, *facts})
    counts = {
        "space": space_id, "batches": named, "trajectories": [trajectories[batch] for batch in named],
        "steps": [steps[batch] for batch in named], "facts": [facts[batch] for batch in named],
    }  # fmt: skip
    raw.execute(COUNT_LESS, counts)
    raw.execute(READ_LESS, counts)
    for statement in FIGURES:
        raw.execute(statement, values)
    return {**removed, "feedback": facts.total()}


def _written(raw: psycopg.Connection[Any], values: dict[str, Any]) -> list[str]:
    """Return the candidates that a subject has probably written."""
    raw.execute(HASHED[0])
    names = [name for (name,) in raw.execute(WRITTEN, values)]
    raw.execute(HASHED[1])
    return names


def _first_version(raw: psycopg.Connection[Any], space_id: int, batches: Sequence[int]) -> int | None:
    return _one(raw, FIRST_VERSION, {"space": space_id, "batches": sorted(set(batches))}) or None


def _values(space_id: int, ids: Sequence[UUID], label: str | None) -> dict[str, Any]:
    nothing = UUID(int=0)
    return {
        "space": space_id, "ids": list(ids), "label": label,
        "first": min(ids, default=nothing), "last": max(ids, default=nothing),
    }  # fmt: skip


def _allowed(connection: Connection, query: str, values: dict[str, Any]) -> bool:
    """Return the answer of a query; False to a role whose grants were not renewed after an upgrade: logged once."""
    try:
        return bool(_one(driver_connection(connection), query, values))
    except InsufficientPrivilege as exc:
        _refused(str(exc))
        return False


@functools.cache  # once a process
def _refused(reason: str) -> None:
    log.warning("erasures are not known (run the grants of docs/roles.md again): %s", reason)


def _one(raw: psycopg.Connection[Any], query: str, values: dict[str, Any]) -> int:
    row = raw.execute(query, values).fetchone()
    return 0 if row is None or row[0] is None else int(row[0])


def _erasure(row: Sequence[Any]) -> Erasure:
    erasure_id, kind, hashes, *rest = row
    return Erasure(erasure_id, kind, bytes(hashes), *rest)
