"""What people look for: requests by the id of an imported row or their own, candidates by a part of id or text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from sona_pg.domain.overview_figures import CandidateMatches
from sona_pg.domain.stored_trajectory import StoredTrajectory
from sona_pg.engine.period_overview import days_of_period
from sona_pg.engine.session import Session
from sona_pg.store.export_rows import Selection

MOST_FOUND = 20  # trajectories of one id, and candidates


def found_requests(session: Session, find: str) -> Sequence[StoredTrajectory]:
    """Return the trajectories that have the id ``find``, or were imported of a row that had it, the latest first."""
    database, space = session.pages, session.space
    ids = database.imported_ids.all_of(space, find, MOST_FOUND)
    own = _as_id(find)
    return _stored(session, [*ids, *([own] if own is not None and own not in ids else [])])


def rated_bad(session: Session, route: str, days: float, until: date | None = None) -> Sequence[StoredTrajectory]:
    """Return the latest trajectories of a route in the last ``days`` that were rated bad, the latest first."""
    _, first, last = days_of_period(session, days, until)
    worst = session.config.patterns.failure_quality
    return _stored(session, session.pages.overview.rated_bad(session.space, route, first, last, worst, MOST_FOUND))


def _stored(session: Session, ids: Sequence[UUID]) -> list[StoredTrajectory]:
    exports, space = session.pages.exports, session.space
    pages = (exports.page(space, Selection(id_, UUID(int=id_.int + 1), steps=False), 1) for id_ in ids)
    return [stored for page in pages for stored in page]


def found_candidates(session: Session, find: str) -> CandidateMatches:
    """Return candidates with ``find`` in their id or text, the retired ones as well."""
    return session.pages.overview.candidates_with(session.space, find, MOST_FOUND)


def _as_id(told: str) -> UUID | None:
    try:
        own = UUID(told)
    except ValueError:
        return None
    return own if own.int < (1 << 128) - 1 else None
