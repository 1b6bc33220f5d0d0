"""Operations that tell feedback about trajectories, and take it back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sona_pg.domain.judged import Fact
from sona_pg.engine import AsyncSonaEngine
from sona_pg.engine.overview import Overview
from sona_pg.errors import DatabaseUnavailable, InvalidValue
from sona_pg.service.operations import Call, Operations
from sona_pg.service.problems import field_problem
from sona_pg.service.recall_operations import require_few
from sona_pg.service.record_bodies import FeedbackBatch, FeedbackBody, Noted, NotedBatch
from sona_pg.service.record_operations import AT_ONCE, make_room, refusal

operations = Operations("record")


@operations.add("POST", "/v1/feedback", scope="record", body=FeedbackBody, answer=Noted, status=202, idempotent=True)
async def give_feedback(call: Call[FeedbackBody]) -> Any:
    """Say how good a trajectory was, or what would have been right; its source is the key's name.

    It may come before its trajectory, weeks later, from any server, and again: of each source the latest counts.
    The answer to a retraction says what it takes back, or which later word goes on counting: one without a sequence is
    numbered after all that this source has said. A key of scope `admin` may name the `source` whose word it takes back.
    """
    engine, body = await call.engine(), call.body
    if not body.retract:
        return {"sequence": _feedback(engine, call, body, "")}
    source = _source(call, body, "")
    said = await _said(engine, body.trajectory)
    own = None if said is None else said.get(source)
    if own is not None and body.sequence is None and own.sequence >= time.time_ns() // 1000:  # numbered by other units
        body = body.model_copy(update={"sequence": own.sequence + 1})
    sequence = _feedback(engine, call, body, "")
    return {"sequence": sequence, "retracted": None if said is None else _retracted(source, said, sequence)}


@operations.add(
    "POST", "/v1/feedback/batch", scope="record", body=FeedbackBatch, answer=NotedBatch, status=202, idempotent=True
)
async def give_feedbacks(call: Call[FeedbackBatch]) -> Any:
    """Give many facts of feedback. Where one is refused, those before it are recorded, and the problem names it."""
    facts = call.body.feedback
    require_few(call, len(facts), "/feedback")
    engine = await call.engine()
    sequences: list[int] = []
    earlier: Counter[UUID] = Counter()  # facts of a batch about the same trajectory
    for place, fact in enumerate(facts):
        if place % AT_ONCE == 0:
            await make_room(engine)
        sequences.append(_feedback(engine, call, fact, f"/feedback/{place}", earlier[fact.trajectory]))
        earlier[fact.trajectory] += 1
    return {"sequences": sequences}


def _feedback(engine: AsyncSonaEngine, call: Call[Any], fact: FeedbackBody, pointer: str, earlier: int = 0) -> int:
    of_cost = fact.quality is None and fact.correction is None and not fact.retract
    source, sequence = _source(call, fact, pointer), fact.sequence
    if sequence is None and call.once is not None:
        sequence = call.once.sequence + earlier
    try:
        return engine.feedback(
            fact.trajectory, fact.quality, source=None if of_cost else source, correction=fact.correction,
            retract=fact.retract, sequence=sequence, cost=fact.cost,
        )  # fmt: skip
    except InvalidValue as exc:
        raise refusal(pointer, exc, FeedbackBody) from exc


def _source(call: Call[Any], fact: FeedbackBody, pointer: str) -> str:
    """Return who says a fact: the caller, or of a retraction the source that it names, which another key may be."""
    own = call.caller.name
    if fact.source is None or fact.source == own:
        return own
    if not fact.retract:
        raise field_problem(f"{pointer}/source", f"only a retraction names a source: this key speaks as {own!r}")
    call.caller.require("admin")
    return fact.source


async def _said(engine: AsyncSonaEngine, trajectory: UUID) -> Mapping[str, Fact] | None:
    """Return what each source says of a trajectory now; None: the database does not answer."""
    if engine.is_cut_off:
        return None
    try:
        return await engine.in_thread(Overview(engine.engine).said, trajectory)
    except DatabaseUnavailable:
        return None


def _retracted(source: str, said: Mapping[str, Fact], sequence: int) -> dict[str, Any]:
    """Return what the retraction numbered ``sequence`` takes back of what was said before it."""
    own, others = said.get(source), [name for name in said if name != source]
    if own is None:
        return {"source": source, "found": False, "others": others}
    told = {"quality": own.quality, "correction": own.correction, "cost": own.paid}
    stands = own.sequence >= sequence
    return (
        {"source": source, "found": not stands, "others": others} | told | ({"later": own.sequence} if stands else {})
    )
