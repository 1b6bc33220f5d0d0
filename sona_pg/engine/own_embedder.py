"""The space's own embedder: known by its probe, and compared with the embedder of this engine."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.embedder_probe import LEAST_COSINE, cosine, to_bytes
from sona_pg.domain.space import Space
from sona_pg.errors import DatabaseError, DatabaseUnavailable, EmbedderChanged
from sona_pg.store.database import Database

log = logging.getLogger(__name__)


class OwnEmbedder:
    """Probe of a space's embedder as this server knows it, and one that is still to be stored."""

    def __init__(self, name: str) -> None:
        """Know nothing yet of the embedder of the space called ``name``."""
        self._name = name
        self._kept: bytes | None = None
        self._offered: NDArray[np.float32] | None = None

    @property
    def is_offered(self) -> bool:
        """Whether a probe is to be stored."""
        return self._offered is not None

    def adopt(self, kept: bytes | None) -> None:
        """Adopt the probe that the store has."""
        self._kept = kept

    def compare(self, probe: NDArray[np.float32]) -> None:
        """Raise ``EmbedderChanged`` if the space's own embedder gave another vector than ``probe``, (dim,) float32."""
        if self._kept is not None and (alike := cosine(self._kept, probe)) < LEAST_COSINE:
            raise EmbedderChanged(self._name, alike)

    def offer(self, probe: NDArray[np.float32]) -> None:
        """Store ``probe`` with the next ``keep``, unless the space has one."""
        if self._kept is None:
            self._offered = probe

    def keep(self, database: Database, space: Space) -> None:
        """Store what is on offer.

        Raises:
            EmbedderChanged: another server was faster, with another embedder.
        """
        probe, self._offered = self._offered, None
        if probe is None:
            return
        try:
            self._kept = database.keep_embedder_probe(space, to_bytes(probe))
        except DatabaseUnavailable:
            self._offered = probe
            raise
        except DatabaseError as exc:
            log.warning("another embedding model would not be noticed (see docs/roles.md): %s", exc)
            return
        self.compare(probe)

    def keep_in_operation(self, database: Database, space: Space) -> None:
        """Store what is on offer, and log what ``keep`` would raise about another embedder."""
        try:
            self.keep(database, space)
        except EmbedderChanged as exc:
            log.error("%s", exc)
