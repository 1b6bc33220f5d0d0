"""Value of one answer by a version's knowledge alone: a candidate's score, or a route's expected quality."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.domain.catalog import Catalog
from sona_pg.learning.knowledge import Knowledge, ranker_of, router_of
from sona_pg.learning.ranking.ranker_prepared import prepare
from sona_pg.learning.routing.router_basis import SKETCH_WIDTH, reduce_width
from sona_pg.learning.vectors import unit

AnswerKind = Literal["candidate", "route"]


def value_of(
    known: Knowledge, catalog: Catalog, config: SonaConfig, kind: AnswerKind, name: str, query: NDArray[np.float32]
) -> float:  # fmt: skip
    """Return the value of the answer ``name`` to ``query`` (dim,)."""
    if kind == "candidate":
        slots = catalog.slots([name])
        scorer = prepare(ranker_of(known.state), catalog.halves[slots], slots)
        return float(scorer.score(query[None, :])[0, 0])
    router = router_of(known.state, config)
    row = query[None, :]
    narrow = reduce_width(row) if router.state.dim > SKETCH_WIDTH else unit(row)
    return float(router.state.predict(narrow, None, router.known([name]))[0, 0])
