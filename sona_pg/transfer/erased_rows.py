"""Rows of an import about users, sessions or records that were erased from the space."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from sona_pg.domain.erasure import hash_of
from sona_pg.domain.space import Space
from sona_pg.errors import InvalidValue
from sona_pg.recorder import told_id
from sona_pg.store.database import Database
from sona_pg.transfer.log_row import LogRow

MOST_ERASURES = 10_000  # that a space keeps
MOST_LABELS = 100_000  # of the file, of which it is known when they were erased
NEVER = UUID(int=0)


class ErasedRows:
    """Finds rows about erased subjects by the salted hashes that the space keeps of them."""

    def __init__(self, database: Database, space: Space, *, undated: bool) -> None:
        """Read the erasures of ``space``; rows that tell no time are of erased subjects only if ``undated``."""
        known = database.erasures.listing(space, MOST_ERASURES)
        self._of_labels = [(one.id, one.known, one.until_id) for one in known if one.kind != "trajectories"]
        self._of_ids = [(one.id, one.known, one.until_id) for one in known if one.kind == "trajectories"]
        self._undated = undated
        self._until: dict[str, UUID] = {}  # end of the latest erasure of a label

    def covers(self, row: LogRow) -> bool:
        """Whether a row is about an erased subject: of the time before its erasure, or of no time that it tells."""
        if not self._of_labels and not self._of_ids:
            return False
        trajectory = NEVER
        with suppress(InvalidValue):  # the recorder refuses it
            trajectory = UUID(bytes=told_id(row.id, row.started_at))
        if any(hash_of(erasure, str(trajectory)) in hashes for erasure, hashes, _ in self._of_ids):
            return True
        labels: Sequence[object] = row.context
        until = max((self._erased_until(label) for label in labels if isinstance(label, str)), default=NEVER)
        if until == NEVER:
            return False
        return trajectory < until or (not row.is_timed and self._undated)

    def _erased_until(self, label: str) -> UUID:
        """Return the least id that no erasure of a label covers; ``NEVER``: there was none."""
        known = self._until.get(label)
        if known is None:
            found = [until for erasure, hashes, until in self._of_labels if hash_of(erasure, label) in hashes]
            known = max(found, default=NEVER)
            if len(self._until) < MOST_LABELS:
                self._until[label] = known
        return known
