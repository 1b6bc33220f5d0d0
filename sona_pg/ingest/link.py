"""Transactions of a space, retried over connections that may be lost at any point, COMMIT included."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import psycopg

from sona_pg.errors import DatabaseUnavailable, SpaceRemoved
from sona_pg.ingest import statements
from sona_pg.ingest.attempts import FIRST_PAUSE, LONGEST_PAUSE, Attempts, described, drawn
from sona_pg.ingest.refusals import is_content_error, is_too_long
from sona_pg.store.deadlines import Watched

T = TypeVar("T")

# Work on a space in turns: a generator that yields a pause in seconds, with no transaction open.
Turns = Generator[float, None, T]

log = logging.getLogger("sona_pg.ingest")


class Overdue(Exception):
    """A transaction took longer than its connection may: whether it was committed is not known."""


class Link:
    """Runs the transactions of one space until they are committed; one thread at a time calls it.

    The work must be idempotent: its marker shows whether an earlier attempt was committed.
    """

    def __init__(self, attempts: Attempts) -> None:
        """Run transactions on connections of ``attempts``."""
        self.retries = 0
        self.took = 0.0  # seconds of the last transaction that was committed
        self.last_error: str | None = None
        self.attempts = self._attempts = attempts
        self._abandoned = threading.Event()
        self._watched: Watched | None = None  # the transaction that runs
        self._lost: int | None = None  # batch of an attempt that lost its connection: its transaction may still be open
        self._overdue = False  # whether that was because it took too long
        self._said = False  # whether the current failure was logged

    def deliver(self, number: int, work: Callable[[psycopg.Connection[Any]], T], *, splits: bool = False) -> Turns[T]:
        """Run ``work`` in a transaction and commit it, with as many attempts as that takes; yield between them.

        Before it writes anything ``work`` names its transaction by ``number`` (``statements.take_name``).

        Args:
            number: of the batch.
            work: the function to run.
            splits: whether the caller can split the work, so that a cancelled statement, or a transaction that was
                overdue, is raised instead of retried.

        Raises:
            Overdue: with ``splits`` alone.
            psycopg.Error: the rows themselves were refused (``is_content_error``), or with ``splits`` were too many
                at once (``is_too_long``).
            SpaceRemoved: by ``work``.
            DatabaseUnavailable: ``abandon`` was called.
        """
        pause = FIRST_PAUSE
        while True:
            while away := self._attempts.away_for:  # another space has found the database away
                self.last_error = self.last_error or self._attempts.why_away
                yield away
            try:
                result = self._attempt(number, work)
            except (SpaceRemoved, DatabaseUnavailable):
                raise
            except Exception as exc:  # whatever went wrong, the rows must not be lost
                if is_content_error(exc) or (splits and is_too_long(exc)):
                    raise
                self._note(exc)
                if splits and self._overdue:
                    self._require_wanted()
                    raise Overdue(described(exc)) from exc
            else:
                if self._said:
                    log.warning("writing to %s works again", self._attempts.where)
                self.last_error, self._said = None, False
                return result
            self._require_wanted()
            yield drawn(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            self.retries += 1

    def once(self, attempts: Attempts, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Run ``work`` in a transaction on a connection of other ``attempts`` and commit it, without another try.

        Raises:
            Exception: whatever went wrong; the outcome is unknown if the link was lost.
            DatabaseUnavailable: ``abandon`` was called.
        """
        with attempts.connection() as (raw, self._watched):
            try:
                self._require_wanted()
                began = time.monotonic()
                result = work(raw)
                raw.commit()
                self.took = time.monotonic() - began
                return result
            except BaseException:
                if not raw.closed:
                    raw.rollback()
                raise
            finally:
                self._watched = None

    def abandon(self) -> None:
        """Make ``deliver`` give up, now and from now on."""
        self._abandoned.set()
        watched = self._watched
        if watched is not None:
            self._attempts.cut(watched)

    def _require_wanted(self) -> None:
        if self._abandoned.is_set():
            raise DatabaseUnavailable(f"writing to {self._attempts.where} was given up: {self.last_error}")

    def _attempt(self, number: int, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        self._overdue = False
        with self._attempts.connection() as (raw, watched):
            self._watched = watched
            try:
                self._require_wanted()  # else abandon() came before there was a connection to cut
                if self._lost is not None:
                    # The backend of an earlier attempt may hold the marker's key until its own link times out, or
                    # be committing at this moment; the marker will say which.
                    raw.execute(statements.END_EARLIER, {"name": statements.name_of(self._lost)})
                    raw.commit()
                    self._lost = None
                return self._committed(raw, number, work)
            finally:
                self._watched = None
                self._overdue = watched.overdue

    def _committed(self, raw: psycopg.Connection[Any], number: int, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        began = time.monotonic()
        try:
            result = work(raw)
            raw.commit()
            self.took = time.monotonic() - began
        except BaseException:
            self._lost = number  # until the server says that it is rolled back, the outcome is not known
            if not raw.closed:
                raw.rollback()
                self._lost = None
            raise
        return result

    def _note(self, exc: BaseException) -> None:
        self.last_error = described(exc)
        if self._attempts.may_log():
            self._said = True
            expected = isinstance(exc, (psycopg.Error, OSError)) or type(exc).__module__.startswith("sqlalchemy")
            log.warning(
                "writing to %s failed and is tried again; new records are kept: %s",
                self._attempts.where,
                self.last_error,
                exc_info=None if expected else exc,
            )
