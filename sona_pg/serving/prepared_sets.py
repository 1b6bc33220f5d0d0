"""Candidate sets as rankings use them: prepared once for each version, the latest are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import Catalog
from sona_pg.learning.ranking.ranker_confidence import Confidence
from sona_pg.learning.ranking.ranker_prepared import Corrected, Prepared
from sona_pg.serving.candidate_sets import KEPT_SETS
from sona_pg.serving.ranking_evidence import EvidenceWeights
from sona_pg.serving.recently_used import RecentlyUsed
from sona_pg.serving.served_version import ServedVersion

MOST_NUMBERS = 1 << 24  # values of prepared sets in a server's cache, beside one set of more than half as many


@dataclass(frozen=True, slots=True, eq=False)
class RankedSet:
    """Candidates that are ranked together."""

    set_id: int | None  # number of the stored set; None if there was no room to store it
    ids: tuple[str, ...]
    embeddings: NDArray[np.float32] | NDArray[np.float16]  # (m, dim)
    checksum: int  # digest of the given embeddings
    # For ids without embeddings: the catalog with them, when to report the set to the store again, the retired ones.
    stored: tuple[Catalog, float, frozenset[str]] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ReadySet:
    """A set prepared for one version."""

    serving: ServedVersion
    candidates: RankedSet
    slots: NDArray[np.int32]  # (m,)
    scorer: Prepared | Corrected
    confidence: Confidence
    evidence: EvidenceWeights | None = None  # that the scorer weighs beside the version

    @property
    def numbers(self) -> int:
        """Approximate number of values held."""
        return 2 * self.candidates.embeddings.size


class RecentSet(NamedTuple):
    """A recently ranked set of ids, with the objects its result depends on."""

    ready: ReadySet
    until: float  # monotonic seconds after which the set is reported to the store again
    retired: frozenset[str]


class PreparedSets:
    """Candidate sets prepared for one version, and for the candidates known by then; dropped with these."""

    def __init__(self, serving: ServedVersion, catalog: Catalog | None) -> None:
        """Start without sets; ``catalog`` has the candidates of sets given by their ids, None: of the others."""
        self.serving = serving
        self.catalog = catalog
        self.by_number: RecentlyUsed[int, RankedSet] = RecentlyUsed(KEPT_SETS, MOST_NUMBERS)
        self.ready: RecentlyUsed[RankedSet, ReadySet] = RecentlyUsed(KEPT_SETS, MOST_NUMBERS)
        self.recent: RecentlyUsed[tuple[str, ...], RecentSet] = RecentlyUsed(KEPT_SETS, MOST_NUMBERS)
        # With the latest evidence they were ranked by.
        self.weighed: RecentlyUsed[RankedSet, ReadySet] = RecentlyUsed(KEPT_SETS, MOST_NUMBERS)
