"""Feed of candidates: those committed by any server join what is ranked here, and leave the overlay once stored.

Those that any server has retired are not ranked here from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime

from sona_pg.domain.space import Space
from sona_pg.serving.candidate_ranker import CandidateRanker
from sona_pg.serving.recaller import Recaller
from sona_pg.serving.served_version import ServedVersion
from sona_pg.store.candidates import CandidateSignal
from sona_pg.store.database import Database

NO_CANDIDATES = CandidateSignal()  # the signal of a space without candidates


class CandidateFeed:
    """Keeps the candidates of one space current with the store."""

    def __init__(self, database: Callable[[], Database], ranker: CandidateRanker, recaller: Recaller) -> None:
        """Feed ``ranker``, and ``recaller`` while it is used."""
        self._database = database
        self._ranker = ranker
        self._recaller = recaller
        self._read: tuple[int, CandidateSignal] | None = None  # version and signal when they were read last
        self._retired_until: datetime | None = None  # latest change among the retired ones that were read

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
        self.read_retired(space, signal.retired)
        is_known = not signal.unplaced and signal.slots <= len(catalog)
        new = [] if is_known else database.new_candidates(space, len(catalog))
        self._ranker.overlay.share(catalog, new, lambda ids: database.named_candidates(space, ids), settled)
        if self._recaller.is_used:
            self._recaller.read()
        self._read = seen

    def read_retired(self, space: Space, until: datetime | None) -> None:
        """Leave out the retired candidates, of which one changed last at ``until``; None: none was ever retired."""
        known, retired = self._retired_until, self._ranker.retired.ids
        if until == known and (until is not None or not retired):
            return
        if known is None or until is None or until < known:  # nothing was read, or a backup was restored
            known, retired = None, frozenset()
        changes = self._database().retirements.changes(space, known)
        back = {change.id for change in changes if not change.is_retired}
        self._ranker.retired.ids = (retired - back).union(change.id for change in changes if change.is_retired)
        self._retired_until = max((change.at for change in changes), default=known)
