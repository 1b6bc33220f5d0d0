"""Feed of candidates: those committed by any server join what is ranked here, and leave the overlay once stored.

So do their embeddings, which count at once.

Those that any server has retired are not ranked here from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from sona_pg.domain.catalog import Catalog
from sona_pg.domain.space import Space
from sona_pg.serving.candidate_ranker import CandidateRanker
from sona_pg.serving.overlay import NOTHING, Settled
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
        self._catalog: Catalog | None = None  # then
        self._retired_until: datetime | None = None  # latest change among the retired ones that were read

    def forget(self) -> None:
        """Read all with the next signal: what is served has other candidates."""
        self._read = None

    def share(
        self, space: Space, serving: ServedVersion, settled: Settled, signal: CandidateSignal | None = None
    ) -> None:
        """Add candidates and embeddings committed by any server to the overlay; drop what is not stored.

        ``settled`` are those that were settled before this call. ``signal`` may be older, also than that of the last
        call: nothing is dropped by its word.
        """
        database, catalog = self._database(), serving.catalog
        signal = signal or database.candidate_signal(space)
        seen = (serving.version, signal)
        if (seen == self._read or (signal == NO_CANDIDATES and self._read is None)) and not settled:
            return
        self.read_retired(space, signal.retired)
        may_drop = bool(settled) or self._ranker.overlay.is_ahead
        is_known = not signal.unplaced and signal.slots <= len(catalog) and not may_drop
        new = [] if is_known else database.new_candidates(space, len(catalog))
        changed = NOTHING
        if signal.changed is not None or settled:
            changed = database.changed_candidates(space, self._changed_since(catalog))
        named = partial(database.named_candidates, space)
        self._ranker.overlay.share(catalog, new, named, changed, settled)
        if self._recaller.is_used:
            self._recaller.read()
        self._read, self._catalog = seen, catalog

    def _changed_since(self, catalog: Catalog) -> datetime | None:
        """Return the time from which on embeddings have changed that are neither known nor in the catalog."""
        if self._read is None or self._catalog is not catalog:
            return catalog.read_at
        return self._read[1].changed

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
