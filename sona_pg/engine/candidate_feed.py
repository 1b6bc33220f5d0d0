"""Feed of candidates: those committed by any server join what is ranked here, and leave the overlay once stored."""

from __future__ import annotations

from collections.abc import Callable, Collection

from sona_pg.domain.space import Space
from sona_pg.serving.candidate_ranker import CandidateRanker
from sona_pg.serving.recaller import Recaller
from sona_pg.serving.served_version import ServedVersion
from sona_pg.store.candidates import CandidateSignal
from sona_pg.store.database import Database

NO_CANDIDATES: CandidateSignal = (0, 0, None)  # the signal of a space without candidates


class CandidateFeed:
    """Keeps the candidates of one space current with the store."""

    def __init__(self, database: Callable[[], Database], ranker: CandidateRanker, recaller: Recaller) -> None:
        """Feed ``ranker``, and ``recaller`` while it is used."""
        self._database = database
        self._ranker = ranker
        self._recaller = recaller
        self._read: tuple[int, CandidateSignal] | None = None  # version and signal when they were read last

    def forget(self) -> None:
        """Read all with the next signal: what is served has other candidates."""
        self._read = None

    def share(
        self, space: Space, serving: ServedVersion, settled: Collection[str], signal: CandidateSignal | None = None
    ) -> None:
        """Add candidates committed by any server to the overlay; drop those of ``settled`` that are not stored."""
        database, catalog = self._database(), serving.catalog
        signal = signal or database.candidate_signal(space)
        seen = (serving.version, signal)
        if (seen == self._read or (signal == NO_CANDIDATES and self._read is None)) and not settled:
            return
        slots, unplaced, _ = signal
        is_known = not unplaced and slots <= len(catalog)
        new = [] if is_known else database.new_candidates(space, len(catalog))
        self._ranker.overlay.share(catalog, new, lambda ids: database.named_candidates(space, ids), settled)
        if self._recaller.is_used:
            self._recaller.read()
        self._read = seen
