"""FoundCandidates that recent evidence is weighed against, by what this server knows of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sona_pg.recorder import keep_directions
from sona_pg.serving.overlay import Overlay
from sona_pg.serving.ranking_evidence import FoundCandidates
from sona_pg.serving.served_version import ServedVersion

MOST_RIVALS = 1024  # of more candidates of a version, as many evenly spread ones


class GivenSet(Protocol):
    """FoundCandidates that were ranked with their embeddings."""

    @property
    def ids(self) -> Sequence[str]: ...

    @property
    def embeddings(self) -> NDArray[np.float32] | NDArray[np.float16]: ...


class RivalCandidates:
    """Finds candidates in a version, beside it, and in the sets that were ranked here, in this order."""

    def __init__(self, dim: int, overlay: Overlay, given: Callable[[], tuple[object, Sequence[GivenSet]]]) -> None:
        """Look in ``overlay``, and in the sets of ``given``: after an object that is equal until they change."""
        self._dim = dim
        self._overlay = overlay
        self._given = given

    def state(self, serving: ServedVersion) -> object:
        """See ``KnownCandidates``."""
        return self._overlay.catalog(serving.catalog), self._given()[0]

    def rivals(self, serving: ServedVersion) -> FoundCandidates:
        """Return candidates of the version; if it has few, others as well, the first by their ids."""
        own = serving.catalog.ids
        if len(own) >= MOST_RIVALS:
            names = [own[row] for row in np.linspace(0, len(own) - 1, MOST_RIVALS).astype(int)]
        else:
            beside = self._overlay.catalog(serving.catalog).ids[len(own) :]
            more = {*beside, *(name for given in self._given()[1] for name in given.ids)} - set(own)
            names = [*own, *sorted(more)[: MOST_RIVALS - len(own)]]
        return self.find(serving, sorted(names))

    def find(self, serving: ServedVersion, names: Sequence[str]) -> FoundCandidates:
        """See ``KnownCandidates``."""
        catalog = self._overlay.catalog(serving.catalog)
        missing = {name for name in names if name not in catalog.index}
        given = self.ranked_here(missing) if missing else {}
        found = [name for name in names if name in catalog.index or name in given]
        rows = [given[name] if name in given else catalog.halves[catalog.index[name]] for name in found]
        return FoundCandidates(found, np.reshape(np.array(rows, np.float32), (len(found), self._dim)))

    def ranked_here(self, names: set[str]) -> Mapping[str, NDArray[np.float16]]:
        """Return those of ``names`` that were ranked with their embeddings, in half precision as they are stored."""
        rows = {name: (given, row) for given in self._given()[1] for row, name in enumerate(given.ids) if name in names}
        if not rows:
            return {}
        scaled = np.array([given.embeddings[row] for given, row in rows.values()], np.float32, order="C")
        keep_directions(scaled)
        return dict(zip(rows, scaled.astype(np.float16), strict=True))
