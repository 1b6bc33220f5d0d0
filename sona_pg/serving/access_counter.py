"""Accesses of patterns on this server: counted by the kernel that finds them, sent to the store with a heartbeat."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.pattern import LearnedPattern, PatternUse
from sona_pg.kernels import CentroidBlock


class AccessCounter:
    """Counts how often the patterns of an engine's versions were found, and knows their use on all servers."""

    def __init__(self) -> None:
        """Start with nothing found."""
        self.known: Mapping[UUID, PatternUse] = MappingProxyType({})  # replaced as a whole
        self._lock = threading.RLock()
        # The version that is served and the one before, which a request may still be asking: its patterns, and how
        # often each was found as of the last look.
        self._versions: list[tuple[tuple[LearnedPattern, ...], CentroidBlock, NDArray[np.int64]]] = []
        self._unsent: Counter[UUID] = Counter()
        self._looked = 0  # the sum of what these blocks have given, as of the last look

    def follow(self, patterns: tuple[LearnedPattern, ...], block: CentroidBlock | None) -> None:
        """Count what is found among the patterns of another version from now on, too."""
        with self._lock:
            self._look()
            if block is not None:
                self._versions = [*self._versions[-1:], (patterns, block, block.given_counts)]
                self._looked = self._total()

    def take(self) -> dict[UUID, int]:
        """Return how often each pattern was found since the last time."""
        if not self._unsent and self._total() == self._looked:  # as in nearly all of a thousand idle spaces
            return {}
        with self._lock:
            self._look()
            taken, self._unsent = self._unsent, Counter()
            return taken

    def give_back(self, counts: Mapping[UUID, int]) -> None:
        """Add back counts that could not be sent."""
        with self._lock:
            self._unsent += Counter(counts)

    def note_uses(self, uses: Mapping[UUID, PatternUse]) -> None:
        """Take over the use of some patterns from the store."""
        with self._lock:
            known = dict(self.known)
            for id_, use in uses.items():
                before = known.get(id_)
                known[id_] = use if before is None else use._replace(created_at=before.created_at)
            self.known = MappingProxyType(known)

    def know(self, uses: Mapping[UUID, PatternUse]) -> None:
        """Adopt the store's counts of all patterns of the space."""
        self.known = MappingProxyType(dict(uses))

    def _total(self) -> int:
        return sum(block.given_total for _, block, _ in self._versions)

    def _look(self) -> None:
        self._looked = self._total()
        for place, (patterns, block, seen) in enumerate(self._versions):
            given = block.given_counts
            for row in np.flatnonzero(given - seen).tolist():
                self._unsent[patterns[row].id] += int(given[row] - seen[row])
            self._versions[place] = (patterns, block, given)
