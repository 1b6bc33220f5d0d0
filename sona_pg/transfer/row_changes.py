"""Changes of a row since it was recorded, each with the fact of feedback that corrects it, if one can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sona_pg.domain.judged import Fact
from sona_pg.store.export_rows import RecordedContents
from sona_pg.transfer.json_codec import shortest
from sona_pg.transfer.log_row import LoggedFact

CORRECTING = "import"  # source of the facts that correct the quality of a row
TIMED = 10**14  # sequences from here on are times in microseconds, with room behind each; those below are counters


class ToldRow(NamedTuple):
    """The parts of a row that are compared with its record."""

    id: UUID  # of the trajectory
    line: int
    name: str  # id of the row
    quality: float | None
    route: str | None
    query: str | None
    facts: Sequence[LoggedFact]


class RowChange(NamedTuple):
    """A difference between a row and its record."""

    field: str
    recorded: Any
    told: Any
    fact: LoggedFact | None  # records what is told; None: it stays as it was recorded


def changes_of(row: ToldRow, known: RecordedContents) -> list[RowChange]:
    """Return the differences between a row and its record, with all corrections of earlier imports counted."""
    found = [*_changed_quality(row, known), *_changed_feedback(row, known)]
    if row.route != known.route:
        found.append(RowChange("route", known.route, row.route, None))
    if row.query != known.query:
        found.append(RowChange("query", known.query, row.query, None))
    return found


def _changed_quality(row: ToldRow, known: RecordedContents) -> Iterator[RowChange]:
    own = any(fact.source == CORRECTING for fact in row.facts)  # of an export: it tells quality and corrections apart
    corrections = [] if own else [fact for fact in known.facts if fact.source == CORRECTING]
    last = max(corrections, key=_sequence, default=None)
    recorded, told = known.quality if last is None else shortest(last.quality), shortest(row.quality)
    if recorded == told:
        return
    fact = None
    if told is not None and not own and not _is_judged(known.facts):
        fact = LoggedFact(CORRECTING, 1 if last is None else last.sequence + 1, told, None, False, None)
    yield RowChange("quality", recorded, told, fact)


def _is_judged(facts: Sequence[Fact]) -> bool:
    """Whether feedback counts in place of the quality, so that a corrected one would count beside it."""
    sources = {fact.source for fact in facts} - {CORRECTING}
    latest = [
        max((fact for fact in facts if fact.source == source and not _is_cost(fact)), key=_sequence, default=None)
        for source in sources
    ]
    return any(fact is not None and (fact.quality, fact.correction) != (None, None) for fact in latest)


def _is_cost(fact: Fact) -> bool:
    return fact.paid is not None and fact.quality is None and fact.correction is None


def _changed_feedback(row: ToldRow, known: RecordedContents) -> Iterator[RowChange]:
    """Yield the difference of each source's last fact.

    The facts right behind a time are corrections of earlier imports: nobody gives two within microseconds. The number
    behind a counter is the next one of the application that counts, for newer feedback: no correction may take it.
    """
    for source in sorted({fact.source for fact in row.facts}):
        fact = max((fact for fact in row.facts if fact.source == source), key=_sequence)
        recorded = {each.sequence: each for each in known.facts if each.source == source}
        last = recorded.get(fact.sequence)
        if last is None:
            continue
        timed = fact.sequence >= TIMED
        while timed and last.sequence + 1 in recorded:
            last = recorded[last.sequence + 1]
        before = (shortest(last.quality), last.correction, shortest(last.paid))
        told = (shortest(fact.quality), fact.correction, shortest(fact.cost))
        if before != told:
            corrected = fact._replace(sequence=last.sequence + 1) if timed else None
            yield RowChange(f"feedback of {source}", _said(*before), _said(*told), corrected)


def _said(quality: float | None, correction: str | None, cost: float | None) -> dict[str, Any] | None:
    told = {"quality": quality, "correction": correction, "cost": cost}
    return {name: value for name, value in told.items() if value is not None} or None  # None: retracted


def _sequence(fact: Fact | LoggedFact) -> int:
    return fact.sequence
