"""Candidates that the versions of a space are compared by: the best ones now, and those retired since."""

from __future__ import annotations

from typing import Any

import numpy as np

from sona_pg.domain.catalog import Catalog
from sona_pg.domain.overview_figures import Scored
from sona_pg.engine.session import Session
from sona_pg.serving.past_answers import Contenders

RANKED = 1_000  # candidates that versions are compared by: the best ones now


def contenders(session: Session, x: np.ndarray[Any, np.dtype[np.float32]]) -> tuple[list[Scored], Contenders]:
    """Return the best candidates now with their scores, and those that other versions rank: also retired ones."""
    serving, ranker = session.held.serving, session.ranker
    catalog = ranker.overlay.catalog(serving.catalog)
    if not len(catalog):
        return [], Contenders((), np.zeros((0, len(x)), np.float16), np.zeros(0, np.int32))
    retired = [name for name in catalog.ids if name in ranker.retired.ids]
    ranked: list[Scored] = []
    if len(retired) < len(catalog):
        best = ranker.rank(serving, x, None, None, min(RANKED, len(catalog)), 0.0)
        ranked = [Scored(name, float(score)) for name, score in zip(best.ids, best.scores, strict=True)]
    names = [*(one.id for one in ranked), *_nearest(catalog, retired, x)]
    return ranked, Contenders(names, catalog.halves[catalog.slots(names)], serving.catalog.slots(names))


def _nearest(catalog: Catalog, names: list[str], x: np.ndarray[Any, np.dtype[np.float32]]) -> list[str]:
    """Return the ``RANKED`` candidates of ``names`` that are nearest to ``x``."""
    if len(names) <= RANKED:
        return names
    closeness = catalog.embeddings[catalog.slots(names)] @ x
    return [names[row] for row in np.argpartition(-closeness, RANKED)[:RANKED].tolist()]
