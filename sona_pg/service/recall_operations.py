"""Operations that remember texts or documents, recall those that answer a question, and drop their contents."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from pydantic import BaseModel, Field

from sona_pg.errors import UnknownCandidate
from sona_pg.service.ask_operations import Count
from sona_pg.service.asked_context import AskedInContext, Text, context_of
from sona_pg.service.operations import Call, Operations
from sona_pg.service.problems import field_problem
from sona_pg.service.record_bodies import Id, RankingBody
from sona_pg.service.wire_vectors import STRICT, WireMatrix, embedded, matrix_of, vector_of

operations = Operations("recall")


class RememberBody(BaseModel):
    """Texts, or vectors with ids; and the JSON that recall gives back."""

    model_config = STRICT | {
        "json_schema_extra": {"anyOf": [{"required": ["texts"]}, {"required": ["ids", "vectors"]}]}
    }

    texts: Annotated[list[Text], Field(min_length=1)] | None = None
    vectors: WireMatrix | None = None  # by default those of the texts
    ids: Annotated[list[Id], Field(min_length=1)] | None = None  # by default made of the texts: the same one again
    contents: list[dict[str, Any]] | None = None  # beside `text`
    group: Id | None = None  # conversation or document that they are parts of, in this order


class RememberedIds(BaseModel):
    """The ids of what was remembered, in its order."""

    ids: list[str]


class RecallBody(AskedInContext):
    """A question, what it was said after, and how much is wanted."""

    k: Count = 5
    ids: Annotated[list[Id], Field(min_length=1)] | None = None  # to choose among; by default all that is stored
    contents: bool = True  # whether the contents are wanted, which are read from the database


class RecalledItem(BaseModel):
    """One of the candidates that the question activates."""

    id: str
    score: float
    content: dict[str, Any] | None = None


class RecallAnswer(BaseModel):
    """What was recalled, best first, and the ranking to be sent with a trajectory."""

    recalled: list[RecalledItem]
    ranking: RankingBody


class DropBody(BaseModel):
    """The ids whose contents are dropped."""

    model_config = STRICT

    ids: Annotated[list[Id], Field(min_length=1)]


class Dropped(BaseModel):
    """How many there were."""

    dropped: int


@operations.add(
    "POST", "/v1/remember", scope="record", body=RememberBody, answer=RememberedIds, status=201, idempotent=True
)
async def remember(call: Call[RememberBody]) -> Any:
    """Store texts or documents to be recalled; a known id gets its new content. They are stored when this returns."""
    body = call.body
    engine = await call.engine()
    count = len(body.texts or body.ids or ())
    require_few(call, count, "/texts" if body.texts else "/ids")
    for name, column in (("ids", body.ids), ("vectors", body.vectors), ("contents", body.contents)):
        if column is not None and len(column) != count:
            raise field_problem(f"/{name}", f"{len(column)} {name} for {count} texts or ids: expected one each")
    if body.texts is None and (body.vectors is None or body.ids is None):
        raise field_problem("/texts", "expected texts, or ids with vectors")
    ids = body.ids or [hashlib.blake2b(text.encode(), digest_size=16).hexdigest() for text in body.texts or ()]
    if len(set(ids)) != len(ids):
        raise field_problem("/ids", "an id, or a text without one, comes twice: expected each once")
    if body.vectors is not None:
        rows = matrix_of(body.vectors, engine.dim, "/vectors")
    else:
        rows = await embedded(call, body.texts or (), "/texts")
    contents = body.contents or [{} for _ in ids]
    if body.texts is not None:
        contents = [{**content, "text": text} for content, text in zip(contents, body.texts, strict=True)]
    await engine.keep_contents(dict(zip(ids, contents, strict=True)))
    await engine.remember(ids, rows, group=body.group)
    return {"ids": ids}


@operations.add("POST", "/v1/recall", scope="read", body=RecallBody, answer=RecallAnswer)
async def recall(call: Call[RecallBody]) -> Any:
    """Recall what answers a question, best first, with the parts around a match in its group.

    Send `ranking` with the trajectory, and the id that was used as its route: feedback teaches what is meant.
    """
    body = call.body
    engine = await call.engine()
    x = await vector_of(call, body)
    context = await context_of(call, body, engine.dim)
    try:
        ranking = await engine.recall(x, ids=body.ids, k=body.k, context=context)
    except UnknownCandidate as exc:
        raise field_problem("/ids", str(exc)) from exc
    stored = {one.id: one.content for one in await engine.contents(ranking.ids)} if body.contents else {}
    scores = ranking.scores.tolist()
    recalled = [
        {"id": id_, "score": score, "content": stored.get(id_)} for id_, score in zip(ranking.ids, scores, strict=True)
    ]
    return {"recalled": recalled, "ranking": ranking.as_dict()}


@operations.add("POST", "/v1/contents/drop", scope="record", body=DropBody, answer=Dropped)
async def drop_contents(call: Call[DropBody]) -> Any:
    """Delete what was remembered under ids. The candidates stay, and what was learned about them."""
    require_few(call, len(call.body.ids), "/ids")
    return {"dropped": await (await call.engine()).drop_contents(call.body.ids)}


def require_few(call: Call[Any], count: int, pointer: str) -> None:
    """Raise a problem of the field at ``pointer`` if a request names more than it may."""
    most = call.state.options.most_batch
    if count > most:
        raise field_problem(pointer, f"{count} at once: expected at most {most}", 413)
