"""Erasure: removes a user's rows, and publishes a state that has never learned from them.

Two steps, each one transaction: the rows go, with a note of the erasure; then the space is rebuilt from the last
version before the first of these rows was learned, and the result replaces every version since. An erasure that is
killed in between is finished by the next one, or by ``finish``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import numpy as np

from sona_pg._version import __version__
from sona_pg.config import SonaConfig
from sona_pg.domain.erasure import NOT_REACHED, Erasure, Key, Receipt, Subject
from sona_pg.domain.ids import uuid7
from sona_pg.domain.space import Space
from sona_pg.errors import HistoryExpired, LearningConflict
from sona_pg.learning.knowledge import Knowledge
from sona_pg.store import space_copy
from sona_pg.store.database import Database
from sona_pg.store.erasure_store import Receipts
from sona_pg.store.unit import LearningUnit
from sona_pg.worker.past_learning import PastLearning, Progress
from sona_pg.worker.rebuild import live_knowledge, parts_of

log = logging.getLogger(__name__)

# By erasure: the erasures of the same subject in copies of the space, by the name of each.
Copies = Mapping[UUID, Mapping[str, str]]

ATTEMPTS = 5  # if the live version or the settings change meanwhile


def erase(
    database: Database,
    space: Space,
    config: SonaConfig,
    subject: Subject,
    key: Key,
    *,
    drop_expired: bool = False,
    drop_contents: bool = False,
    progress: Progress = lambda done, total: None,
) -> Receipt:
    """Remove a subject's rows and every influence of them; return the signed receipt.

    Recorders and readers do not wait; learners of the space do. An earlier erasure that was cut short is finished too.
    Spaces that this one was re-embedded from, or is being re-embedded into, hold copies: they are erased there first.

    Args:
        database: the store.
        space: the space.
        config: settings of this process; learning settings are the space's at each version.
        subject: whose rows.
        key: signs the receipt.
        drop_expired: whether to drop what was learned from trajectories that retention has removed since.
        drop_contents: whether to drop the contents of candidates that the subject has probably written.
        progress: called with the number of cycles done and of all.

    Raises:
        HistoryExpired: there are such trajectories, and ``drop_expired`` is False; nothing has changed.
    """
    others = space_copy.relatives(database.engine, space)
    for one in (space, *others):
        expired = database.erasures.has_expired(one)
        if expired and not drop_expired:
            raise HistoryExpired(
                f"space {one.name!r} has learned from {expired} trajectories that retention has removed since: nobody "
                "can tell whose they were; an exact erasure learns from the kept ledger alone: pass drop_expired for "
                "that"
            )
    erased = {}
    for one in others:
        erased[one.name] = str(database.erasures.remove(one, subject, drop_contents=drop_contents))
        finish(database, one, config.replace(hidden_dim=one.dim), key)
    erasure_id = database.erasures.remove(space, subject, drop_contents=drop_contents)
    finish(database, space, config, key, progress=progress, copies={erasure_id: erased})
    done = database.erasures.read(space, erasure_id)
    assert done is not None
    assert done.receipt is not None
    return Receipt.of(done.receipt)


def finish(
    database: Database,
    space: Space,
    config: SonaConfig,
    key: Key,
    *,
    progress: Progress = lambda done, total: None,
    copies: Copies = MappingProxyType({}),
) -> int:
    """Finish the erasures whose rows are removed; return their number. Their receipts name what ``copies`` tells.

    Raises:
        LearningConflict: the live version changed each time; try again later.
    """
    for _ in range(ATTEMPTS):
        try:
            with database.learning_unit(space, uuid7()) as unit:
                assert unit is not None
                return _finish(database, unit, space, config, key, progress, copies)
        except LearningConflict as exc:
            log.info("an erasure is run again: %s", exc)
    raise LearningConflict(
        f"space {space.name!r}: its live version changed {ATTEMPTS} times during an erasure; run it again to finish it"
    )


def digest(known: Knowledge) -> str:
    """Return the SHA-256 of all that a version serves or learns from, but its number."""
    told = hashlib.sha256()
    for name, part in sorted(parts_of(known).items()):
        told.update(f"{name}\0".encode())
        _feed(told, part)
    return told.hexdigest()


def _finish(
    database: Database,
    unit: LearningUnit,
    space: Space,
    config: SonaConfig,
    key: Key,
    progress: Progress,
    copies: Copies,
) -> int:
    pending = database.erasures.unfinished(space)
    if not pending:
        return 0
    first = min(erasure.first_version for erasure in pending)
    expired = database.erasures.has_expired(space)
    if not expired and all(erasure.found_nothing for erasure in pending):
        initial = PastLearning(unit, space, config).initial()
        served = live_knowledge(unit, initial)
        if served is not None:  # else it is damaged, and learned anew
            _note(database, unit, space, served, lambda facts: _receipts(pending, facts, key, copies))
            return len(pending)
    start = 0 if expired else database.erasures.clean_versions(space, first)[-1]
    relived = PastLearning(unit, space, config).run(start, progress)
    live = live_knowledge(unit, relived.initial)
    version, known = unit.next_version, relived.knowledge
    made = dataclasses.replace(
        known.state, version=version, parent=unit.live_version, cycle_id=uuid7(), metrics={"rebuilt": 1.0}
    )
    facts = {
        "space": space.name,
        "version": version,
        "rebuilt_from": start,
        "cycles": len(relived.cycles),
        "expired": expired,
        "loaded_versions": [cycle.version for cycle in relived.cycles if cycle.loaded],
        "state_before": None if live is None else digest(live),
        "state_after": digest(known),
        "release": __version__,
    }
    unit.republish(
        made,
        known.patterns,
        known.fisher,
        database.erasures.finishing(space, first, version, _receipts(pending, facts, key, copies)),
    )
    return len(pending)


def _note(
    database: Database,
    unit: LearningUnit,
    space: Space,
    served: Knowledge,
    sign: Callable[[Mapping[str, Any]], Receipts],
) -> None:
    """Keep the receipts of erasures that found no row: the live version stays as it is.

    The erasures themselves stay too, by which a learner recognises records of their subjects that arrive late.
    """
    state = digest(served)
    facts = {
        "space": space.name,
        "version": unit.live_version,
        "rebuilt_from": unit.live_version,
        "cycles": 0,
        "expired": 0,
        "loaded_versions": [],
        "state_before": state,
        "state_after": state,
        "release": __version__,
    }
    unit.unchanged(database.erasures.noting(space, sign(facts)))


def _receipts(
    pending: Sequence[Erasure], facts: Mapping[str, Any], key: Key, copies: Copies
) -> Callable[[Sequence[int], datetime], dict[UUID, dict[str, Any]]]:
    def sign(gone: Sequence[int], at: datetime) -> dict[UUID, dict[str, Any]]:
        return {
            erasure.id: Receipt.signed(
                {
                    "erasure": str(erasure.id),
                    "kind": erasure.kind,
                    "subject_hashes": hashlib.sha256(erasure.hashes).hexdigest(),
                    "requested_at": erasure.requested_at.isoformat(),
                    "finished_at": at.isoformat(),
                    "removed": dict(erasure.removed),
                    "first_version": erasure.first_version,
                    "versions_dropped": list(gone),
                    "not_reached": list(NOT_REACHED),
                    "copies": dict(copies.get(erasure.id, {})),
                    **facts,
                },
                key,
            ).as_dict()
            for erasure in pending
        }

    return sign


def _feed(told: Any, part: Any) -> None:
    """Feed a part to a hash: values with their types, lengths and shapes, floats to the bit."""
    if isinstance(part, np.ndarray):
        told.update(f"{part.dtype.str}{part.shape}".encode())
        told.update(np.ascontiguousarray(part).tobytes())
    elif isinstance(part, Mapping):
        told.update(f"{{{len(part)}".encode())
        for name in sorted(part, key=str):
            told.update(f"{name}\0".encode())
            _feed(told, part[name])
    elif isinstance(part, Sequence) and not isinstance(part, str | bytes):
        told.update(f"[{len(part)}".encode())
        for one in part:
            _feed(told, one)
    elif dataclasses.is_dataclass(part):
        _feed(told, {field.name: getattr(part, field.name) for field in dataclasses.fields(part) if field.compare})
    else:
        value = part.item() if isinstance(part, np.generic) else part
        told.update((value.hex() if isinstance(value, float) else repr(value)).encode() + b"\0")
