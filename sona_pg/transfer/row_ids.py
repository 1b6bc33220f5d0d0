"""Ids of an import's rows: which were in the ledger before, and which stand twice with different values."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from sona_pg.domain.space import Space
from sona_pg.errors import InvalidValue
from sona_pg.recorder import told_id
from sona_pg.store.database import Database
from sona_pg.transfer.log_row import LogRow


class RowIds:
    """Ids that an import gave to the recorder: new ones, and those that were known."""

    def __init__(self, database: Database, space: Space) -> None:
        """Look ids up in the ledger of ``space``."""
        self._exports, self._imported, self._space = database.exports, database.imported_ids, space
        self._stored: frozenset[bytes] = frozenset()  # of the ids looked up last
        self._known_by: dict[str, UUID] = {}  # trajectories by own ids, of the rows looked up last
        self._given: set[bytes] = set()  # new, and not committed yet
        self._known = 0  # of those since the last commit
        self._told: dict[UUID, str] = {}  # own ids of the rows since the last commit
        self.recorded = 0  # new ids that are committed
        self.known = 0  # rows whose id was there before, or stood further up in the file

    def look_up(self, rows: Sequence[LogRow]) -> None:
        """Look up which of ``rows``, which are given next, are in the ledger."""
        names = [row.imported_id for row in rows if row.imported_id is not None and not row.is_timed]
        self._known_by = self._imported.trajectories(self._space, names) if names else {}
        ids = []
        for row in map(self.recognized, rows):
            with suppress(InvalidValue):  # the recorder refuses it
                ids.append(told_id(row.id, row.started_at))
        self._stored = self._exports.stored(self._space, ids)

    def recognized(self, row: LogRow) -> LogRow:
        """Return a row looked up as the trajectory that has its own id, if the row does not tell its time.

        It has the time of ``--at`` then: with another one the same file would be recorded twice.
        """
        known = None if row.is_timed or row.imported_id is None else self._known_by.get(row.imported_id)
        return row if known is None else replace(row, id=known, started_at=None)

    def give(self, trajectory: UUID, row: LogRow) -> None:
        """Note that ``row`` is given to the recorder as ``trajectory``."""
        id = trajectory.bytes
        if row.imported_id is not None:
            self._told[trajectory] = row.imported_id
        if id in self._stored or id in self._given:
            self._known += 1
        else:
            self._given.add(id)

    def commit(self, refused: int) -> int:
        """Count the rows given since the last call, all settled, keep their own ids, and return how many were known.

        Where records were ``refused`` by Postgres meanwhile, the ledger tells which of the new ones it took.
        """
        self._imported.keep(self._space, self._told)
        self._told = {}
        given, known = self._given, self._known
        self._given, self._known = set(), 0
        self.recorded += len(self._exports.stored(self._space, list(given)) if refused else given)
        self.known += known
        return known


class FirstValues:
    """Values of the first row of each id of a file, of which another row must say the same."""

    def __init__(self) -> None:
        """Begin a file."""
        self._values: dict[bytes, int] = {}  # a hash by id

    def require_same(self, row: LogRow) -> None:
        """Note the values of a row.

        Raises:
            InvalidValue: an earlier row of its id has other values.
        """
        try:
            id_ = told_id(row.id, row.started_at)
        except InvalidValue:  # the recorder refuses it
            return
        told = hash((row.quality, row.route, row.query, tuple(row.facts)))
        if self._values.setdefault(id_, told) != told:
            raise InvalidValue(f"id {str(row.id)!r:.60} stands twice with different values: the first row counts")
