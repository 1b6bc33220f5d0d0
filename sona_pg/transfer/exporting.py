"""Export of trajectories and candidates as JSONL that an import reads again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sona_pg.domain.ids import made_at
from sona_pg.domain.judged import Fact
from sona_pg.domain.space import Space
from sona_pg.domain.stored_trajectory import StoredTrajectory
from sona_pg.store.database import Database
from sona_pg.store.export_rows import Selection
from sona_pg.transfer.json_codec import shortest, write_row

PAGE = 1000  # trajectories in memory at once
CANDIDATES = 1000  # candidates in memory at once, beside the ids of all
FIRST, END = UUID(int=0), UUID(int=(1 << 128) - 1)

Write = Callable[[str], object]
Count = Callable[[int], object]  # called with the rows so far


@dataclass(frozen=True, slots=True)
class ExportWanted:
    """Trajectories to export."""

    since: datetime | None = None
    until: datetime | None = None
    embeddings: bool = False


def export_trajectories(
    database: Database, space: Space, wanted: ExportWanted, write: Write, count: Count = lambda rows: None
) -> int:
    """Write the trajectories of a space, oldest first, one JSON object a line; return their number."""
    rows = 0
    for stored in stored_trajectories(database, space, selection_of(wanted)):
        write(write_row(_row(stored, wanted.embeddings), stored.embedding))
        rows += 1
        if rows % PAGE == 0:
            count(rows)
    return rows


def export_candidates(database: Database, space: Space, write: Write, count: Count = lambda rows: None) -> int:
    """Write the candidates of a space with their embeddings, groups in their order; return their number."""
    order, retired = database.candidate_order(space), database.retirements.retired(space)
    groups = {name: group for name, group, _ in order}
    names = [name for name, _, _ in order]
    names += [name for name in database.new_candidates(space, 0) if name not in groups]
    for start in range(0, len(names), CANDIDATES):
        part = names[start : start + CANDIDATES]
        catalog = database.named_candidates(space, part)
        contents = ((one.id, one.content.get("text")) for one in database.contents.read(space, part))
        texts = {name: text for name, text in contents if isinstance(text, str)}
        halves = dict(zip(catalog.ids, catalog.halves, strict=True))
        for name in part:
            if name in halves:
                row = {
                    "candidate": name, "text": texts.get(name), "group": groups.get(name),
                    "retired": True if name in retired else None,
                }  # fmt: skip
                write(write_row(row, halves[name]))
        count(start + len(part))
    return len(names)


def selection_of(wanted: ExportWanted, **more: bool) -> Selection:
    """Return the range of ids of the wanted times."""
    first = FIRST if wanted.since is None else _least_id(wanted.since)
    end = END if wanted.until is None else _least_id(wanted.until)
    return Selection(first, end, wanted.embeddings, **more)


def stored_trajectories(database: Database, space: Space, selection: Selection) -> Iterator[StoredTrajectory]:
    """Yield the selected trajectories, oldest first, with one page in memory."""
    while page := database.exports.page(space, selection, PAGE):
        yield from page
        if len(page) < PAGE:
            return
        selection = selection._replace(first=UUID(int=page[-1].id.int + 1))


def _row(stored: StoredTrajectory, vectors: bool) -> dict[str, Any]:
    decision = None
    if stored.propensity is not None:
        features = stored.features or None
        decision = {"propensity": stored.propensity, "cost": stored.cost, "features": features}
    return {
        "id": str(stored.id),
        "imported_id": stored.imported_id,
        "started_at": made_at(stored.id).isoformat(),
        "query": stored.query,
        "route": stored.route,
        "quality": stored.quality,
        "outcome": shortest(stored.outcome.quality),
        "latency": None if stored.latency_us is None else stored.latency_us / 1e6,
        "cost": stored.paid,
        "context": stored.context,
        "parameters": stored.parameters or None,
        "candidates": "all" if stored.candidates == () else stored.candidates,
        "decision": decision and _told(decision),
        "version": stored.version,
        "steps": [_told(_step(step, vectors)) for step in stored.steps],
        "feedback": [_told(_fact(fact)) for fact in stored.facts],
    }


def _step(step: Any, vectors: bool) -> dict[str, Any]:
    told = {"offset": step.offset_us / 1e6, "reward": step.reward}
    if vectors:
        told |= {"activations": step.activations, "attention_weights": step.attention_weights}
    return told


def _fact(fact: Fact) -> dict[str, Any]:
    quality, cost = shortest(fact.quality), shortest(fact.paid)
    nothing = quality is None and fact.correction is None and cost is None
    return {
        "source": fact.source,
        "sequence": fact.sequence,
        "quality": quality,
        "correction": fact.correction,
        "cost": cost,
        "retract": True if nothing else None,
    }


def _told(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _least_id(at: datetime) -> UUID:
    return UUID(int=max(0, round(at.timestamp() * 1000)) << 80)
