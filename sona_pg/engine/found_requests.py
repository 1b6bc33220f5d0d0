"""What people look for: requests by the id of an imported row or their own, candidates by a part of id or text."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sona_pg.domain.overview_figures import CandidateMatches
from sona_pg.domain.stored_trajectory import StoredTrajectory
from sona_pg.engine.session import Session
from sona_pg.store.export_rows import Selection

MOST_FOUND = 20  # trajectories of one id, and candidates


def found_requests(session: Session, find: str) -> Sequence[StoredTrajectory]:
    """Return the trajectories that have the id ``find``, or were imported of a row that had it, the latest first."""
    database, space = session.database, session.space
    ids = database.imported_ids.all_of(space, find, MOST_FOUND)
    own = _as_id(find)
    wanted = [*ids, *([own] if own is not None and own not in ids else [])]
    return [
        stored
        for id_ in wanted
        for stored in database.exports.page(space, Selection(id_, UUID(int=id_.int + 1), steps=False), 1)
    ]


def found_candidates(session: Session, find: str) -> CandidateMatches:
    """Return candidates with ``find`` in their id or text, the retired ones as well."""
    return session.database.overview.candidates_with(session.space, find, MOST_FOUND)


def _as_id(told: str) -> UUID | None:
    try:
        own = UUID(told)
    except ValueError:
        return None
    return own if own.int < (1 << 128) - 1 else None
