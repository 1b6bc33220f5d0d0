"""Texts as candidates: remembered with their contents, ranked for a query, and what was shown recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.answer import Ranking
from sona_pg.domain.content import StoredContent
from sona_pg.engine import SonaEngine
from sona_pg.errors import UnknownCandidate


@dataclass(frozen=True, slots=True)
class ShownText:
    """A stored text that was found for a query."""

    stored: StoredContent
    score: float

    @property
    def text(self) -> str:
        """Return the text."""
        return str(self.stored.content["text"])


def remember_texts(
    engine: SonaEngine, contents: Mapping[str, Mapping[str, Any]], *, group: str | None = None
) -> None:  # fmt: skip
    """Store contents that have a ``text``, and the texts' embeddings as candidates of the same ids.

    A text without a word that the embedder knows is stored, but not found by a query.
    """
    vectors = engine.embed([str(content["text"]) for content in contents.values()]) if contents else np.zeros((0, 1))
    known = [(id_, row) for id_, row in zip(contents, vectors, strict=True) if row.any()]
    engine.keep_contents(contents)
    if known:
        engine.remember([id_ for id_, _ in known], np.stack([row for _, row in known]), group=group)


def find_texts(
    engine: SonaEngine, query: str, k: int, *, neighbours: bool = False, record: bool = True
) -> tuple[list[ShownText], UUID | None]:
    """Return the best ``k`` stored texts for a query, and the id of the trajectory that was recorded.

    Args:
        engine: the space.
        query: the question.
        k: how many texts at most.
        neighbours: spread the match along the order of groups, as ``SonaEngine.recall`` does.
        record: record a trajectory, about which feedback can be given.
    """
    vector = engine.embed([query])[0]
    if not vector.any():
        return [], None
    ask, wanted = engine.recall if neighbours else engine.rank, k
    while True:
        try:
            ranking = ask(vector, k=wanted)
        except UnknownCandidate:  # nothing is stored yet
            return [], None
        stored = {one.id: one for one in engine.contents(ranking.ids) if "text" in one.content}
        if len(stored) >= k or len(ranking.ids) < wanted:
            break
        wanted *= 4  # candidates whose content was dropped, or that have none
    scores = zip(ranking.ids, ranking.scores.tolist(), strict=True)
    shown = [ShownText(stored[id_], score) for id_, score in scores if id_ in stored][:k]
    if not shown or not record:
        return shown, None
    return shown, record_shown(engine, query, vector, ranking, shown[0].stored.id)


def record_shown(
    engine: SonaEngine,
    query: str,
    vector: NDArray[np.float32],
    ranking: Ranking,
    first: str,
    quality: float | None = None,
) -> UUID:
    """Record that ``first`` was shown for a query; return the trajectory's id."""
    handle = engine.begin_trajectory(vector, query=query, ranking=ranking)
    engine.set_trajectory_route(handle, first)
    engine.end_trajectory(handle, quality)
    return handle.id


def last_user_text(messages: Sequence[Any] | str | None) -> str:
    """Return the text of the last message of a user, as OpenAI's chat and responses APIs shape messages."""
    if isinstance(messages, str):
        return messages
    for message in reversed(messages or ()):
        if isinstance(message, Mapping) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            parts = (part.get("text") for part in content or () if isinstance(part, Mapping))
            return "\n".join(part for part in parts if isinstance(part, str))
    return ""
