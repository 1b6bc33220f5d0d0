"""Ids of an import's rows: which were in the ledger before, and which stand twice with different values."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from sona_pg.domain.space import Space
from sona_pg.errors import InvalidValue
from sona_pg.recorder import told_id
from sona_pg.store.database import Database
from sona_pg.transfer.log_row import LogRow


class RowIds:
    """Ids that an import gave to the recorder: new ones, and those that were known."""

    def __init__(self, database: Database, space: Space) -> None:
        """Look ids up in the ledger of ``space``."""
        self._exports, self._space = database.exports, space
        self._stored: frozenset[bytes] = frozenset()  # of the ids looked up last
        self._given: set[bytes] = set()  # new, and not committed yet
        self._known = 0  # of those since the last commit
        self.recorded = 0  # new ids that are committed
        self.known = 0  # rows whose id was there before, or stood further up in the file

    def look_up(self, rows: Sequence[LogRow]) -> None:
        """Look up which of ``rows``, which are given next, are in the ledger."""
        ids = []
        for row in rows:
            with suppress(InvalidValue):  # the recorder refuses it
                ids.append(told_id(row.id, row.started_at))
        self._stored = self._exports.stored(self._space, ids)

    def give(self, id: bytes) -> None:
        """Note that the row of ``id`` is given to the recorder."""
        if id in self._stored or id in self._given:
            self._known += 1
        else:
            self._given.add(id)

    def commit(self, refused: int) -> int:
        """Count the rows given since the last call, all settled, and return how many of them were known.

        Where records were ``refused`` by Postgres meanwhile, the ledger tells which of the new ones it took.
        """
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
