"""One transaction after another over a link that may be lost at any point, COMMIT included."""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError

from sona_pg.errors import DatabaseUnavailable, SpaceRemoved
from sona_pg.ingest import statements
from sona_pg.ingest.commit import is_content_error, is_too_long
from sona_pg.ingest.watchdog import Watchdog
from sona_pg.store.connect import is_spent, masked

T = TypeVar("T")

log = logging.getLogger("sona_pg.ingest")

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds between attempts; each is drawn from the upper half of its range
LOG_EVERY = 30.0  # seconds
SEND_BUFFER = 4 << 20

_random = random.SystemRandom()  # an application may seed `random`, and all its servers would pause in step


class Link:
    """Runs transactions until they are committed; the writer's thread is the only one that calls ``deliver``.

    What is run must be safe to run again: it recognises by its marker that an earlier attempt was committed.
    """

    def __init__(self, engine: Engine, stall_timeout: float) -> None:
        self.retries = 0
        self.last_error: str | None = None
        self._engine = engine
        self._where = masked(engine.url)
        self._watchdog = Watchdog(stall_timeout, "sona-pg-watchdog")
        self._abandoned = threading.Event()
        self._spent = False  # whether pooled connections must be replaced before they are used again
        event.listen(engine, "checkout", self._replace_spent)
        self._lost = False  # whether the last attempt's link was, so that its transaction may still stand
        self._logged_at = -LOG_EVERY  # also where writing works now and then: a spell that is over is not worth a line
        self._said = False  # whether what fails now was logged

    def deliver(self, number: int, work: Callable[[psycopg.Connection[Any]], T], *, splits: bool = False) -> T:
        """Run ``work`` in a transaction and commit it, however often that takes.

        Before it writes anything ``work`` names its transaction by ``number`` (``statements.take_name``).

        Args:
            number: of the batch.
            work: what to run.
            splits: whether the caller can do with less at once, and wants to hear that a statement took too long.

        Raises:
            psycopg.Error: the rows themselves were refused (``is_content_error``), or with ``splits`` were too many
                at once (``is_too_long``).
            SpaceRemoved: by ``work``.
            DatabaseUnavailable: ``abandon`` was called meanwhile.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                result = self._attempt(number, work)
            except SpaceRemoved:
                raise
            except Exception as exc:  # whatever went wrong, the rows must not be lost
                if is_content_error(exc) or (splits and is_too_long(exc)):
                    raise
                self._note(exc)
            else:
                if self._said:
                    log.warning("writing to %s works again", self._where)
                self.last_error, self._said = None, False
                return result
            if self._abandoned.wait(pause * _random.uniform(0.5, 1.0)):
                raise DatabaseUnavailable(f"writing to {self._where} was given up: {self.last_error}")
            pause = min(2 * pause, LONGEST_PAUSE)
            self.retries += 1

    def abandon(self) -> None:
        """Make ``deliver`` give up, now and from now on."""
        self._abandoned.set()
        self._watchdog.cut()

    @property
    def abandoned(self) -> bool:
        return self._abandoned.is_set()

    def close(self) -> None:
        """End the watchdog's thread."""
        event.remove(self._engine, "checkout", self._replace_spent)
        self._watchdog.close()

    def _attempt(self, number: int, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        pooled = self._engine.raw_connection()
        raw = pooled.driver_connection
        assert isinstance(raw, psycopg.Connection)
        _widen(raw)
        try:
            with self._watchdog.over(raw):
                if self._lost:
                    # The backend of an earlier attempt may hold the marker's key until its own link times out, or
                    # be committing at this moment; the marker will say which.
                    raw.execute(statements.END_EARLIER, {"name": statements.name_of(number)})
                    raw.commit()
                    self._lost = False
                try:
                    result = work(raw)
                    raw.commit()
                except BaseException:
                    self._lost = True  # until the server says that it is rolled back, the outcome is not known
                    if not raw.closed:
                        raw.rollback()
                        self._lost = False
                    raise
                return result
        except ValueError as exc:  # psycopg's, over more results than COPY has when the server goes
            if not raw.closed:
                raise
            raise psycopg.OperationalError(f"the link was lost ({exc})") from exc
        except psycopg.Error as exc:
            self._spent = self._spent or is_spent(exc)
            raise
        finally:
            if raw.closed or self._spent:
                pooled.invalidate()
            else:
                pooled.close()

    def _replace_spent(self, *_: object) -> None:
        """Called by the pool before a connection is used: have all that are as old as the last error made anew.

        A connection of a read-only spell stays read-only, and one to a demoted primary stays there, while they look
        alive.
        """
        if self._spent:
            self._spent = False
            raise InvalidatePoolError("an error of the server said that older connections are of no use")

    def _note(self, exc: BaseException) -> None:
        text = str(exc).strip()
        self.last_error = f"{type(exc).__name__}: {text.splitlines()[0] if text else 'no message'}"
        if time.monotonic() - self._logged_at >= LOG_EVERY:
            self._logged_at, self._said = time.monotonic(), True
            expected = isinstance(exc, (psycopg.Error, OSError)) or type(exc).__module__.startswith("sqlalchemy")
            log.warning(
                "writing to %s failed and is tried again; what is recorded meanwhile waits: %s",
                self._where,
                self.last_error,
                exc_info=None if expected else exc,
            )


def _widen(raw: psycopg.Connection[Any]) -> None:
    """Let a local socket hold megabytes, as TCP's grows to by itself: the server then has rows to work on while this
    thread waits for the GIL."""
    with socket.socket(fileno=os.dup(raw.fileno())) as link:
        if link.family == socket.AF_UNIX:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
