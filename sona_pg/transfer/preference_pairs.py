"""Preference pairs for training: a query, the answer that was preferred, and the answer that was not."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sona_pg.domain.ids import made_at
from sona_pg.domain.space import Space
from sona_pg.domain.stored_trajectory import StoredTrajectory
from sona_pg.store.database import Database
from sona_pg.transfer.exporting import PAGE, Count, ExportWanted, Write, selection_of, stored_trajectories
from sona_pg.transfer.json_codec import write_row

MOST_QUERIES = 100_000  # kept at once, the least recently asked out first
MOST_ANSWERS = 16  # kept of a query, thumbed up and thumbed down each
MOST_PAIRS = 1024  # remembered of a query, so that none is written twice


@dataclass(slots=True)
class _Judged:
    """Answers to one query so far."""

    up: list[str] = field(default_factory=list)
    down: list[str] = field(default_factory=list)
    told: set[tuple[str, str]] = field(default_factory=set)  # pairs written


def export_pairs(
    database: Database,
    space: Space,
    wanted: ExportWanted,
    write: Write,
    texts: Mapping[str, str] | None = None,
    count: Count = lambda rows: None,
) -> int:
    """Write the preference pairs of a space's rankings, each once, one JSON object a line; return their number.

    A pair is an answer that was shown and refused, with its correction or with an answer to the same query (the same
    text) that was thumbed up. Rankings without the query's text give none.

    Args:
        database: of the space.
        space: whose rankings are read, oldest first.
        wanted: their times.
        write: called with each line.
        texts: texts of the candidates, written in place of their ids.
        count: called with the rankings read so far.
    """
    rows = 0
    for row in _pairs(stored_trajectories(database, space, selection_of(wanted, steps=False, rankings=True)), count):
        for name in ("chosen", "rejected"):
            row[name] = row[name] if texts is None else texts.get(row[name], row[name])
        write(write_row(row))
        rows += 1
    return rows


def _pairs(rankings: Iterator[StoredTrajectory], count: Count) -> Iterator[dict[str, Any]]:
    queries: OrderedDict[str, _Judged] = OrderedDict()
    for place, stored in enumerate(rankings, 1):
        if place % PAGE == 0:
            count(place)
        quality, route, query = stored.outcome.quality, stored.route, stored.query
        if quality is None or route is None or query is None:
            continue
        known = queries.setdefault(query, _Judged())
        queries.move_to_end(query)
        if len(queries) > MOST_QUERIES:
            queries.popitem(last=False)
        correction = stored.outcome.correction
        if correction is not None and correction != route:
            _note(known.up, correction)
            _note(known.down, route)
            found = [(correction, route, "correction")]
        elif quality > 0.5:
            _note(known.up, route)
            found = [(route, down, "thumbs") for down in known.down]
        elif quality < 0.5:
            _note(known.down, route)
            found = [(up, route, "thumbs") for up in known.up]
        else:
            continue
        for chosen, rejected, reason in found:
            if chosen != rejected and (chosen, rejected) not in known.told:
                if len(known.told) >= MOST_PAIRS:
                    known.told.clear()
                known.told.add((chosen, rejected))
                yield {
                    "query": query,
                    "chosen": chosen,
                    "rejected": rejected,
                    "reason": reason,
                    "trajectory": str(stored.id),
                    "started_at": made_at(stored.id).isoformat(),
                }


def _note(answers: list[str], answer: str) -> None:
    if answer not in answers:
        answers.append(answer)
        del answers[:-MOST_ANSWERS]
