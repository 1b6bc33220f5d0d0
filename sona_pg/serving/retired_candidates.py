"""Retired candidates: left out wherever candidates are ranked or recalled, whoever names them."""

from __future__ import annotations

from collections.abc import Sequence

from sona_pg.domain.catalog import Catalog
from sona_pg.errors import UnknownCandidate
from sona_pg.serving.candidate_sets import check_ids

ALL_RETIRED = "all candidates to choose among are retired: name others, or restore_candidates first"


class RetiredCandidates:
    """The retired candidates of a space, as this server knows them. Safe from many threads."""

    def __init__(self) -> None:
        """Start without any."""
        self.ids: frozenset[str] = frozenset()  # replaced as a whole, so its identity tells whether it has changed
        self._offered: tuple[Catalog, frozenset[str], tuple[str, ...]] | None = None  # the last answer of ``left_of``

    def any_of(self, ids: Sequence[str]) -> bool:
        """Whether one of ``ids`` is retired."""
        try:
            return bool(self.ids) and not self.ids.isdisjoint(ids)
        except TypeError:  # an id that cannot be hashed is none, and the check of the ids says so
            return False

    def rows_left(self, ids: Sequence[str]) -> list[int]:
        """Return the places of those of ``ids`` that are not retired.

        Raises:
            UnknownCandidate: all are.
        """
        retired = self.ids
        left = [row for row, name in enumerate(check_ids("candidate id", ids)) if name not in retired]
        if not left:
            raise UnknownCandidate(ALL_RETIRED)
        return left

    def left_of(self, catalog: Catalog) -> Sequence[str]:
        """Return the candidates of a catalog that are not retired.

        Raises:
            UnknownCandidate: all are.
        """
        retired, offered = self.ids, self._offered
        if not retired or not catalog.ids:
            return catalog.ids
        if offered is None or offered[0] is not catalog or offered[1] is not retired:
            offered = (catalog, retired, tuple(name for name in catalog.ids if name not in retired))
            self._offered = offered
        if not offered[2]:
            raise UnknownCandidate(ALL_RETIRED)
        return offered[2]
