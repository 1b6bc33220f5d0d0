"""Re-embedding a space: another model or dimension, from the texts that are stored.

Queries and candidates get new embeddings in a space of their own, which learns from the copied ledger and then takes
the name; the old space stays, under a name of its lineage, until it is removed. Rows without text cannot be
re-embedded, and is counted. Killed in the middle, the same call goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.domain.ids import uuid7
from sona_pg.errors import Conflict, DimensionMismatch, InvalidValue
from sona_pg.limits import MAX_HALF
from sona_pg.store import space_copy
from sona_pg.store.database import Database
from sona_pg.store.space_copy import SpaceCopy
from sona_pg.worker.background import BackgroundLoop

AT_ONCE = 512  # texts that the model is given in one call
SWITCHES = 20  # attempts at a moment in which nothing is left to copy

Embed = Callable[[list[str]], Any]  # n texts -> (n, dim), such as SentenceTransformer(...).encode
CandidateTexts = Mapping[str, str] | Callable[[list[str]], Sequence[str | None]]  # by id; None: it has none
Progress = Callable[[int, int], object]  # trajectories done, and of all


@dataclass(frozen=True, slots=True)
class ReembedResult:
    """Result of re-embedding a space."""

    space: str
    dim: int
    kept_as: str  # the name of the space that was before
    trajectories: int  # in the new space
    without_text: int  # trajectories that could not be re-embedded
    feedback: int
    feedback_left: int  # that is about those
    candidates: int
    candidates_without_text: int
    version: int  # that the new space serves


def reembed(
    database: Database,
    name: str,
    embed: Embed,
    dim: int,
    *,
    candidate_texts: CandidateTexts | None = None,
    learn: bool = True,
    progress: Progress = lambda done, total: None,
) -> ReembedResult:
    """Give a space new embeddings of ``dim`` dimensions, made by ``embed`` from the stored queries.

    Servers that have the space open go on with the old one, also after the switch: open them anew with the new
    dimension, then ``catch_up`` copies their records of the meantime.

    Args:
        database: where the space is.
        name: of the space.
        embed: n texts -> (n, dim).
        dim: of the new embeddings.
        candidate_texts: the text of each candidate: by id, or a callable from ids to texts.
        learn: learn from the copied ledger before the switch; otherwise the new space begins with version 0.
        progress: called with the number of trajectories looked at, and of all that were left.

    Raises:
        UnknownSpace: there is no space of that name.
        Conflict: a re-embedding to another dimension was begun; or servers record faster than ``embed`` follows.
        InvalidValue: the space has candidates and ``candidate_texts`` is not given, or ``embed`` gave what is no
            embedding of ``dim`` dimensions.
    """
    copy = space_copy.begin(database.engine, name, dim)
    maker = _Maker(copy, embed, candidate_texts)
    maker.copy(progress)
    if learn:
        _learn(database, copy)
    for _ in range(SWITCHES):
        kept_as = copy.switch()
        if kept_as is not None:
            return _result(database, copy, name, kept_as)
        maker.copy(progress)
    raise Conflict(
        f"space {name!r}: servers record faster than its embeddings are made; stop them for a moment, and call this "
        "again"
    )


def catch_up(
    database: Database,
    name: str,
    embed: Embed,
    *,
    candidate_texts: CandidateTexts | None = None,
    learn: bool = True,
    progress: Progress = lambda done, total: None,
) -> ReembedResult:
    """Copy the records that the previous space received since the switch; arguments as of ``reembed``.

    Raises:
        UnknownSpace: there is no space of that name.
        Conflict: it has no predecessor, or that was removed.
        InvalidValue: see ``reembed``.
    """
    copy = space_copy.again(database.engine, name)
    _Maker(copy, embed, candidate_texts).copy(progress)
    if learn:
        _learn(database, copy)
    return _result(database, copy, name, copy.source.name)


class _Maker:
    """Embeds the rows that a copy lacks."""

    def __init__(self, copy: SpaceCopy, embed: Embed, candidate_texts: CandidateTexts | None) -> None:
        self._copy = copy
        self._embed = embed
        self._texts = candidate_texts

    def copy(self, progress: Progress) -> None:
        """Copy everything that is left: candidates, sets, then batches in the order in which they were recorded."""
        self._copy_candidates()
        self._copy.copy_sets()
        left = self._copy.left()
        total, done = sum(count for _, count in left), 0
        progress(done, total)
        for batch, count in left:
            ids, texts = self._copy.texts(batch)
            vectors = self._embeddings(texts)
            rows = np.flatnonzero(vectors.any(axis=1))  # of length 0: the model knows no word of the text
            self._copy.copy(batch, [ids[row] for row in rows], vectors[rows])
            done += count
            progress(done, total)

    def _copy_candidates(self) -> None:
        left = self._copy.candidates_left()
        if left and self._texts is None:
            raise InvalidValue(
                f"space {self._copy.source.name!r} has {len(left)} candidates to embed, {left[0]!r} first: pass "
                "candidate_texts=, their texts by id or a callable that gives them; {} leaves them out"
            )
        for ids in _chunks(left):
            texts = self._texts_of(ids)
            known = [(id_, told) for id_, told in zip(ids, texts, strict=True) if told and told.strip()]
            vectors = self._embeddings([told for _, told in known])
            rows = np.flatnonzero(vectors.any(axis=1))
            self._copy.copy_candidates([known[row][0] for row in rows], vectors[rows])

    def _texts_of(self, ids: list[str]) -> Sequence[str | None]:
        assert self._texts is not None
        if isinstance(self._texts, Mapping):
            return [self._texts.get(id_) for id_ in ids]
        texts = self._texts(ids)
        if len(texts) != len(ids):
            raise InvalidValue(
                f"candidate_texts gave {len(texts)} texts for {len(ids)} ids: expected one each, or None"
            )
        return texts

    def _embeddings(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the embeddings of ``texts``, (n, dim) float32, checked."""
        dim = self._copy.target.dim
        parts = [np.zeros((0, dim), np.float32)]
        for chunk in _chunks(texts):
            vectors = np.asarray(self._embed(list(chunk)), np.float32)
            if vectors.ndim != 2 or len(vectors) != len(chunk):
                raise InvalidValue(
                    f"embed gave an array of shape {vectors.shape} for {len(chunk)} texts: expected (n, {dim})"
                )
            if vectors.shape[1] != dim:
                raise DimensionMismatch(dim, vectors.shape[1])
            if not (np.abs(vectors) <= MAX_HALF).all():
                raise InvalidValue(f"embed gave values that are not finite or beyond ±{MAX_HALF:g}: check the model")
            parts.append(vectors)
        return np.concatenate(parts)


def _learn(database: Database, copy: SpaceCopy) -> None:
    """Learn everything that was copied, so that the first server that opens the space is served at once."""
    BackgroundLoop(database, copy.target, uuid7(), SonaConfig(hidden_dim=copy.target.dim)).run_cycle()


def _result(database: Database, copy: SpaceCopy, name: str, kept_as: str) -> ReembedResult:
    source, target = copy.totals()
    return ReembedResult(
        space=name,
        dim=copy.target.dim,
        kept_as=kept_as,
        trajectories=target.trajectories,
        without_text=source.trajectories - target.trajectories,
        feedback=target.feedback,
        feedback_left=source.feedback - target.feedback,
        candidates=target.candidates,
        candidates_without_text=source.candidates - target.candidates,
        version=database.live_version(copy.target),
    )


def _chunks(items: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]
