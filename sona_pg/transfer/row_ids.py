"""Ids of an import's rows: which were in the ledger before, and which stand twice with different values."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from sona_pg.domain.space import Space
from sona_pg.errors import InvalidValue, StorageError
from sona_pg.recorder import told_id
from sona_pg.store.database import Database
from sona_pg.store.imported_ids import OwnId
from sona_pg.transfer.log_row import LogRow

MOST_CACHED = 64 << 20  # bytes of first values that are in memory; the others are in a temporary file


class RowIds:
    """Ids that an import gave to the recorder: new ones, and those that were known."""

    def __init__(self, database: Database, space: Space) -> None:
        """Look ids up in the ledger of ``space``."""
        self._exports, self._imported, self._space = database.exports, database.imported_ids, space
        self._stored: frozenset[bytes] = frozenset()  # of the ids looked up last
        self._known_by: dict[str, UUID] = {}  # trajectories by own ids, of the rows looked up last
        self._given: set[bytes] = set()  # new, and not committed yet
        self._known = 0  # of those since the last commit
        self._told: dict[UUID, OwnId] = {}  # own ids of the rows since the last commit
        self.recorded = 0  # new ids that are committed
        self.known = 0  # rows whose id was there before, or stood further up in the file

    def look_up(self, rows: Sequence[LogRow]) -> None:
        """Look up which of ``rows``, which are given next, are in the ledger.

        Ids of new rows that tell no time are kept before the first is recorded: an import that is killed in between and
        repeated with another ``--at`` would record those rows twice.
        """
        names = [row.imported_id for row in rows if row.imported_id is not None and not row.is_timed]
        self._known_by = self._imported.untimed(self._space, names) if names else {}
        ids: list[bytes] = []
        ahead: dict[UUID, OwnId] = {}
        for row in map(self.recognized, rows):
            with suppress(InvalidValue):  # the recorder refuses it
                ids.append(told_id(row.id, row.started_at))
                if row.imported_id is not None and not row.is_timed and row.imported_id not in self._known_by:
                    ahead[UUID(bytes=ids[-1])] = OwnId(row.imported_id, is_timed=False)
        self._imported.keep_ahead(self._space, ahead)
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
            is_exported = row.is_timed and isinstance(row.id, UUID)
            self._told[trajectory] = OwnId(row.imported_id, None if is_exported else row.is_timed)
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
    """Values of the first row of each id of a file, of which another row must say the same.

    They are in a temporary file, which SQLite deletes when it is closed: files have more rows than memory has room for.
    """

    def __init__(self) -> None:
        """Begin a file of rows."""
        self._kept = sqlite3.connect("", isolation_level=None)  # the name of a temporary database
        self._kept.execute(f"PRAGMA cache_size = -{MOST_CACHED >> 10}")
        self._kept.execute("PRAGMA journal_mode = OFF")  # nobody reads it after a crash
        self._kept.execute("CREATE TABLE first (id BLOB PRIMARY KEY, told INTEGER) WITHOUT ROWID")
        self._kept.execute("BEGIN")  # else each row were a transaction

    def require_same(self, row: LogRow) -> None:
        """Note the values of a row.

        Raises:
            InvalidValue: an earlier row of its id has other values.
            StorageError: no temporary file can be written.
        """
        try:
            id_ = told_id(row.id, row.started_at)
        except InvalidValue:  # the recorder refuses it
            return
        told = hash((row.quality, row.route, row.query, tuple(row.facts)))
        if self._first(id_, told) != told:
            raise InvalidValue(f"id {str(row.id)!r:.60} stands twice with different values: the first row counts")

    def _first(self, id_: bytes, told: int) -> int:
        """Return what is noted of an id; note ``told`` of a new one."""
        try:
            if self._kept.execute("INSERT OR IGNORE INTO first VALUES (?, ?)", (id_, told)).rowcount:
                return told
            (first,) = self._kept.execute("SELECT told FROM first WHERE id = ?", (id_,)).fetchone()
        except sqlite3.Error as exc:
            raise StorageError(
                f"ids of the file cannot be kept in a temporary file: {exc}; make room there, or set TMPDIR elsewhere"
            ) from exc
        return int(first)

    def close(self) -> None:
        """Delete the file."""
        self._kept.close()
