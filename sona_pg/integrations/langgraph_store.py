"""LangGraph: its long-term memory (``BaseStore``) in a space, found by learned ranking (extra ``langgraph``)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from langgraph.store.base import (
    BaseStore,
    GetOp,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    get_text_at_path,
    tokenize_path,
)

from sona_pg.domain.content import StoredContent
from sona_pg.engine import SonaEngine
from sona_pg.errors import UnknownCandidate
from sona_pg.integrations.item_filter import passes
from sona_pg.integrations.text_candidates import record_shown
from sona_pg.limits import MOST_FOUND

ROOT, LABEL, KEY = (
    "langgraph",
    "\x1f",
    "\x1e",
)  # an id: langgraph, labels each after \x1f, \x1f\x1e, key
WHOLE = "$"  # of ``fields``: the whole value


class SonaStore(BaseStore):
    """Items of LangGraph as candidates of a space: each server sees them, and ``search`` learns which are meant.

    ``rate(namespace, key, query, quality)`` teaches it. Items are committed when ``put`` returns; all indexed
    texts of an item are embedded together.
    """

    __slots__ = ("_engine", "_fields")

    def __init__(self, engine: SonaEngine, *, fields: Sequence[str] = (WHOLE,)) -> None:
        """Keep items in the space of ``engine``; by default ``search`` looks at the texts of ``fields``."""
        self._engine = engine
        self._fields = list(fields)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do operations: first what reads, in one look for all gets, then what writes, the last one of a key."""
        todo = list(ops)
        gets = {place: _id(op.namespace, op.key) for place, op in enumerate(todo) if isinstance(op, GetOp)}
        stored = {one.id: one for one in self._engine.contents(list(gets.values()))} if gets else {}
        results: list[Result] = []
        puts: dict[str, PutOp] = {}
        for place, op in enumerate(todo):
            if isinstance(op, GetOp):
                found = stored.get(gets[place])
                results.append(None if found is None else _item(found))
            elif isinstance(op, SearchOp):
                results.append(self._search(op))
            elif isinstance(op, ListNamespacesOp):
                results.append(self._namespaces(op))
            elif isinstance(op, PutOp):
                puts[_id(op.namespace, op.key)] = op
                results.append(None)
            else:
                raise ValueError(f"unknown operation {op!r:.100}")
        self._write(puts)
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do the same in a thread."""
        return await asyncio.to_thread(self.batch, list(ops))

    def rate(self, namespace: tuple[str, ...], key: str, query: str, quality: float) -> UUID:
        """Teach how good the item was for a query: 1 if it was the right one; return the trajectory's id."""
        vector = self._engine.embed([query])[0]
        ranking = self._rank(vector, _prefix(namespace), 1)
        return record_shown(self._engine, query, vector, ranking, _id(namespace, key), quality)

    def _search(self, op: SearchOp) -> list[SearchItem]:
        prefix = _prefix(op.namespace_prefix)
        wanted = op.offset + op.limit
        if not op.filter and not op.query:
            found = self._engine.find_contents(prefix, limit=op.limit, offset=op.offset) if op.limit else []
            return [_found(one) for one in found]
        if not op.filter:
            return self._ranked(op, prefix, None)[op.offset : wanted]
        stored = self._engine.find_contents(prefix, limit=MOST_FOUND)
        fitting = [one for one in stored if passes(one.content["value"], op.filter)]
        found_items = self._ranked(op, prefix, fitting) if op.query else [_found(one) for one in fitting]
        return found_items[op.offset : wanted]

    def _ranked(self, op: SearchOp, prefix: str, among: Sequence[StoredContent] | None) -> list[SearchItem]:
        """Return items by their rank for the query, then those without an indexed text."""
        wanted = op.offset + op.limit
        ids = None if among is None else [one.id for one in among if one.content["indexed"]]
        vector = self._engine.embed([str(op.query)])[0]
        scores: dict[str, float] = {}
        if vector.any() and ids != []:
            try:
                ranking = self._rank(vector, prefix, wanted, ids)
                scores = dict(zip(ranking.ids, ranking.scores.tolist(), strict=True))
            except UnknownCandidate:  # there is no indexed item
                scores = {}
        items = [_found(one, scores[one.id]) for one in self._engine.contents(list(scores))]
        if len(items) < wanted:
            rest = self._engine.find_contents(prefix, limit=wanted + len(items)) if among is None else among
            items += [_found(one) for one in rest if one.id not in scores]
        return items

    def _rank(self, vector: Any, prefix: str, k: int, ids: Sequence[str] | None = None) -> Any:
        ids = self._engine.content_ids(prefix) if ids is None else ids
        if not ids:
            raise UnknownCandidate("no item of the namespace is indexed")
        try:
            return self._engine.rank(vector, ids=ids, k=max(k, 1))
        except UnknownCandidate:  # some are not indexed
            found = self._engine.find_contents(prefix, containing={"indexed": True}, limit=MOST_FOUND)
            indexed = {one.id for one in found}
            ids = [id_ for id_ in ids if id_ in indexed]
            if not ids:
                raise
            return self._engine.rank(vector, ids=ids, k=max(k, 1))

    def _write(self, puts: Mapping[str, PutOp]) -> None:
        gone = [id_ for id_, op in puts.items() if op.value is None]
        kept = {id_: op for id_, op in puts.items() if op.value is not None}
        texts = {id_: self._text(op) for id_, op in kept.items()}
        spoken = [id_ for id_, text in texts.items() if text.strip()]
        vectors = dict(zip(spoken, self._engine.embed([texts[id_] for id_ in spoken]), strict=True)) if spoken else {}
        indexed = [id_ for id_, row in vectors.items() if row.any()]
        if gone:
            self._engine.drop_contents(gone)
        if indexed:
            self._engine.remember(indexed, np.stack([vectors[id_] for id_ in indexed]))
        self._engine.keep_contents({id_: {"value": op.value, "indexed": id_ in indexed} for id_, op in kept.items()})

    def _text(self, op: PutOp) -> str:
        """Return the text of an item that is embedded; none if it is not to be found by a query."""
        if op.index is False:
            return ""
        paths = self._fields if op.index is None else op.index
        texts = (
            [json.dumps(op.value, sort_keys=True, ensure_ascii=False)]
            if path == WHOLE
            else get_text_at_path(op.value, tokenize_path(path))
            for path in paths
        )
        return "\n".join(text for found in texts for text in found)

    def _namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        conditions = op.match_conditions or ()
        fixed = next((one.path for one in conditions if one.match_type == "prefix" and "*" not in one.path), ())
        known = {_place(id_)[0] for id_ in self._engine.content_ids(_prefix(tuple(fixed)))}
        matching = {one for one in known if all(_matches(condition, one) for condition in conditions)}
        named = sorted({one if op.max_depth is None else one[: op.max_depth] for one in matching})
        return named[op.offset : op.offset + op.limit]


def _prefix(namespace: tuple[str, ...]) -> str:
    """Return the beginning of the ids of a namespace and of those below it."""
    return ROOT + "".join(LABEL + label for label in _checked(namespace)) + LABEL


def _id(namespace: tuple[str, ...], key: str) -> str:
    return _prefix(namespace) + KEY + key


def _place(id_: str) -> tuple[tuple[str, ...], str]:
    """Return the namespace and the key of an id."""
    labels, _, key = id_.partition(LABEL + KEY)
    return tuple(labels.split(LABEL)[1:]), key


def _checked(namespace: tuple[str, ...]) -> Iterator[str]:
    for label in namespace:
        if LABEL in label or KEY in label:
            raise InvalidNamespaceError(f"label {label!r} has a control character that separates labels here")
        yield label


def _item(stored: StoredContent) -> Item:
    namespace, key = _place(stored.id)
    return Item(
        value=stored.content["value"], key=key, namespace=namespace,
        created_at=stored.created_at, updated_at=stored.updated_at,
    )  # fmt: skip


def _found(stored: StoredContent, score: float | None = None) -> SearchItem:
    namespace, key = _place(stored.id)
    return SearchItem(namespace, key, stored.content["value"], stored.created_at, stored.updated_at, score)


def _matches(condition: MatchCondition, namespace: tuple[str, ...]) -> bool:
    count = len(condition.path)
    if len(namespace) < count:
        return False
    part = namespace[:count] if condition.match_type == "prefix" else namespace[len(namespace) - count :]
    return all(wanted in ("*", label) for wanted, label in zip(condition.path, part, strict=True))
