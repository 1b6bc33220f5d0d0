"""Candidates that a question is answered with now, and how probably the first of them would be rated right."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sona_pg.domain.answer import Ranking
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.overview_figures import Scored
from sona_pg.domain.rated_before import RatedBefore
from sona_pg.engine.session import Session
from sona_pg.serving.past_answers import Contenders

RANKED = 1_000  # candidates that versions are compared by: the best ones now
RATED_LIKE = 400  # nearest trajectories, among which ratings of an answer are looked for

Query = np.ndarray[Any, np.dtype[np.float32]]


class Contended(NamedTuple):
    """Candidates that are the best now, and those that other versions rank."""

    ranking: Ranking | None  # None: none is offered
    among: Contenders  # also the retired ones

    @property
    def ranked(self) -> list[Scored]:
        """The best candidates now with their scores."""
        best = self.ranking
        return [] if best is None else [Scored(*one) for one in zip(best.ids, best.scores.tolist(), strict=True)]


def contenders(session: Session, x: Query) -> Contended:
    """Return the best candidates now, and those that other versions rank."""
    serving, ranker = session.held.serving, session.ranker
    catalog = ranker.overlay.catalog(serving.catalog)
    if not len(catalog):
        return Contended(None, Contenders((), np.zeros((0, len(x)), np.float16), np.zeros(0, np.int32)))
    retired = [name for name in catalog.ids if name in ranker.retired.ids]
    best = None
    if len(retired) < len(catalog):
        best = ranker.rank(serving, x, None, None, min(RANKED, len(catalog)), 0.0)
    names = [*(() if best is None else best.ids), *_nearest(catalog, retired, x)]
    return Contended(best, Contenders(names, catalog.halves[catalog.slots(names)], serving.catalog.slots(names)))


def rated_before(session: Session, x: Query, ranking: Ranking | None) -> RatedBefore | None:
    """Return how probably the first answer of ``ranking`` to ``x`` would be rated right.

    None where nothing has measured the confidence: before the first cycle, and of very many candidates.
    """
    if ranking is None or ranking.confidence is None or ranking.fit is None:
        return None
    found = session.pages.search(session.space, x, RATED_LIKE)
    ratings = [
        (one.similarity, one.quality) for one in found if one.route == ranking.ids[0] and one.quality is not None
    ]
    return RatedBefore.of(ranking.confidence, ratings)


def _nearest(catalog: Catalog, names: list[str], x: Query) -> list[str]:
    """Return the ``RANKED`` candidates of ``names`` that are nearest to ``x``."""
    if len(names) <= RANKED:
        return names
    closeness = catalog.embeddings[catalog.slots(names)] @ x
    return [names[row] for row in np.argpartition(-closeness, RANKED)[:RANKED].tolist()]
