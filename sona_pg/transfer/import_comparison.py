"""Comparison of imported rows with what is recorded under their ids: a record is never changed by an import."""

from __future__ import annotations

from uuid import UUID

from sona_pg.domain.space import Space
from sona_pg.store.database import Database
from sona_pg.store.export_rows import RecordedContents
from sona_pg.transfer.json_codec import shortest
from sona_pg.transfer.log_row import LogRow

AT_ONCE = 4096  # rows that are read together


class ImportComparison:
    """Rows of an import since the last commit, to be compared with the records where not all of them were new."""

    def __init__(self, database: Database, space: Space) -> None:
        """Compare with the trajectories of ``space``."""
        self._database, self._space = database, space
        self._told: list[tuple[UUID, float | None, str | None, str | None]] = []
        self.changed = 0  # rows whose quality, route or query differs from the record

    def add(self, id: UUID, row: LogRow) -> None:
        """Note a row that was given to the recorder as trajectory ``id``."""
        self._told.append((id, row.quality, row.route, row.query))

    def compare(self, new: int) -> None:
        """Count the changed rows among those noted; all are committed, and ``new`` of them were new."""
        told, self._told = self._told, []
        if new >= len(told):
            return
        for start in range(0, len(told), AT_ONCE):
            part = told[start : start + AT_ONCE]
            found = self._database.exports.recorded(self._space, [id_ for id_, *_ in part])
            for id_, quality, route, query in part:
                row = RecordedContents(shortest(quality), route, query)
                self.changed += found.get(id_, row) != row
