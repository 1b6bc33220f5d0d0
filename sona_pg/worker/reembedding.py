"""Re-embedding a space: another model or dimension, from the stored texts.

Queries and candidates get new embeddings in a new space, which learns from the copied ledger and then takes the name;
the old space is kept as ``name~1`` until it is removed. Rows without text cannot be re-embedded, and are counted. After
an interruption the same call continues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.domain.embedder_probe import LEAST_COSINE, cosine, probe_of, to_bytes
from sona_pg.domain.ids import uuid7
from sona_pg.errors import Conflict, DimensionMismatch, EmbedderChanged, InvalidValue
from sona_pg.limits import MAX_HALF
from sona_pg.store import space_copy
from sona_pg.store.database import Database
from sona_pg.store.space_copy import SpaceCopy
from sona_pg.worker.background import BackgroundLoop
from sona_pg.worker.candidate_texts import CandidateTexts, TextLookup

AT_ONCE = 512  # texts that the model is given in one call
SWITCHES = 20  # attempts to switch at a moment without uncopied batches

Embed = Callable[[list[str]], Any]  # n texts -> (n, dim), such as SentenceTransformer(...).encode
Progress = Callable[[int, int], object]  # trajectories done, trajectories in all


@dataclass(frozen=True, slots=True)
class ReembedResult:
    """Result of re-embedding a space."""

    space: str
    dim: int
    kept_as: str  # new name of the previous space
    trajectories: int  # in the new space
    without_text: int  # trajectories that could not be re-embedded
    feedback: int
    feedback_left: int  # feedback about those
    candidates: int
    candidates_without_text: int
    version: int  # version served by the new space


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
    """Give a space new embeddings of ``dim`` dimensions, computed by ``embed`` from the stored queries.

    Servers that have the space open continue with the old one, also after the switch: reopen them with the new
    dimension, then ``catch_up`` copies their records since then.

    Args:
        database: the store.
        name: of the space.
        embed: n texts -> (n, dim).
        dim: of the new embeddings.
        candidate_texts: the text of each candidate by id, or a callable from ids to texts; None in place of a text
            leaves a candidate out, an empty mapping all. For ids that a mapping does not name, the ``text`` of the
            stored content is taken (``keep_contents``).
        learn: learn from the copied ledger before the switch; otherwise the new space begins with version 0.
        progress: called with the numbers of processed and of all trajectories.

    Raises:
        UnknownSpace: there is no space of that name.
        Conflict: a re-embedding to another dimension was begun; or servers record faster than ``embed`` follows.
        EmbedderChanged: a re-embedding was begun with another model: remove its copy, or end it with that model.
        InvalidValue: a candidate has no text (nothing is begun then), or ``embed`` returned an invalid embedding.
    """
    source, ids = space_copy.candidates_to_embed(database.engine, name)
    texts = TextLookup(candidate_texts, database.contents, source)
    texts.require(ids)  # before a copy is begun
    copy = space_copy.begin(database.engine, name, dim)
    _know_embedder(database, copy, embed)
    maker = _Maker(copy, embed, texts)
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
        Conflict: it has no predecessor, or the predecessor was removed.
        InvalidValue: see ``reembed``.
    """
    copy = space_copy.again(database.engine, name)
    _Maker(copy, embed, TextLookup(candidate_texts, database.contents, copy.source)).copy(progress)
    if learn:
        _learn(database, copy)
    return _result(database, copy, name, copy.source.name)


class _Maker:
    """Embeds the rows that a copy lacks."""

    def __init__(self, copy: SpaceCopy, embed: Embed, texts: TextLookup) -> None:
        self._copy = copy
        self._embed = embed
        self._texts = texts

    def copy(self, progress: Progress) -> None:
        """Copy the remaining candidates, sets, and batches in the order of recording."""
        self._copy_candidates()
        self._copy.copy_sets()
        left = self._copy.left()
        total, done = sum(count for _, count in left), 0
        progress(done, total)
        for batch, count in left:
            ids, texts = self._copy.texts(batch)
            vectors = self._embeddings(texts)
            rows = np.flatnonzero(vectors.any(axis=1))  # zero vector: the model knows no word of the text
            self._copy.copy(batch, [ids[row] for row in rows], vectors[rows])
            done += count
            progress(done, total)

    def _copy_candidates(self) -> None:
        for ids, texts in self._texts.of(self._copy.candidates_left()):
            known = [(id_, told) for id_, told in zip(ids, texts, strict=True) if told and told.strip()]
            vectors = self._embeddings([told for _, told in known])
            rows = np.flatnonzero(vectors.any(axis=1))
            self._copy.copy_candidates([known[row][0] for row in rows], vectors[rows])

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


def _know_embedder(database: Database, copy: SpaceCopy, embed: Embed) -> None:
    """Have the new space know its embedder; raise ``EmbedderChanged`` if the copy was begun with another one."""
    probe = probe_of(embed, copy.target.dim)
    if probe is not None:
        alike = cosine(database.keep_embedder_probe(copy.target, to_bytes(probe)), probe)
        if alike < LEAST_COSINE:
            raise EmbedderChanged(copy.target.name, alike)


def _learn(database: Database, copy: SpaceCopy) -> None:
    """Learn the copied ledger, so that the first server to open the space has a version at once."""
    BackgroundLoop(database, copy.target, uuid7(), SonaConfig(hidden_dim=copy.target.dim)).run_cycle()


def _result(database: Database, copy: SpaceCopy, name: str, kept_as: str) -> ReembedResult:
    target, left_out = copy.totals()
    return ReembedResult(
        space=name,
        dim=copy.target.dim,
        kept_as=kept_as,
        trajectories=target.trajectories,
        without_text=left_out.trajectories,
        feedback=target.feedback,
        feedback_left=left_out.feedback,
        candidates=target.candidates,
        candidates_without_text=left_out.candidates,
        version=database.live_version(copy.target),
    )


def _chunks(items: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]
