"""Pooled connections for one transaction each, with a time limit; shared by all spaces of a process."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError, SQLAlchemyError

from sona_pg.store.connect import is_spent, masked
from sona_pg.store.deadlines import Watched, deadlines

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds between attempts; each is drawn from the upper half of its range
LOG_EVERY = 30.0  # seconds
SEND_BUFFER = 4 << 20

# Own generator of the jitter: applications may seed `random`, and then all their servers would retry together.
_random = random.SystemRandom()


class Attempts:
    """Lends connections for one transaction each; safe from many threads.

    After a failed connection all spaces pause together: retries by a thousand spaces separately would occupy the
    threads, and overload the database when it comes back.
    """

    def __init__(self, engine: Engine, stall_timeout: float, beside: Engine | None = None) -> None:
        """Lend connections of ``engine``; a transaction may take ``stall_timeout`` seconds.

        ``beside`` is another engine on the same database: an error that condemns pooled connections of one applies to
        both.
        """
        self.where = masked(engine.url)
        self.why_away = ""  # error of the last failed connection
        self._engine = engine
        self._stall_timeout = stall_timeout
        self._renewal = _Renewal(engine)
        self._renewals = [self._renewal] if beside is None else [self._renewal, _Renewal(beside)]
        self._away_until = 0.0  # monotonic seconds
        self._pause = FIRST_PAUSE
        # Logged at most once an interval, even if writing recovers and fails again.
        self._logged_at = -LOG_EVERY

    @contextmanager
    def connection(self) -> Iterator[tuple[psycopg.Connection[Any], Watched]]:
        """Lend a connection, with the handle that ``cut`` needs to end it from another thread.

        Raises:
            psycopg.Error, SQLAlchemyError, OSError: connecting failed, or the block raised it.
        """
        raw, give_back = self._lent()
        try:
            with deadlines.over_driver(raw, self, self._stall_timeout) as watched:
                yield raw, watched
        except ValueError as exc:  # psycopg's, over more results than COPY has when the server goes
            if not raw.closed:
                raise
            raise psycopg.OperationalError(f"the link was lost ({exc})") from exc
        except psycopg.Error as exc:
            if is_spent(exc):
                for renewal in self._renewals:
                    renewal.due = True
            raise
        finally:
            if raw.closed or self._renewal.due:
                give_back.invalidate()
            else:
                give_back.close()

    def cut(self, watched: Watched) -> None:
        """End a lent connection; do nothing if it was given back."""
        deadlines.cut_call(watched)

    @property
    def away_for(self) -> float:
        """Seconds until the next attempt: 0 unless the last one failed to connect a moment ago."""
        return max(0.0, self._away_until - time.monotonic())

    def may_log(self) -> bool:
        """Whether another warning about failures may be logged."""
        now = time.monotonic()
        if now - self._logged_at < LOG_EVERY:
            return False
        self._logged_at = now
        return True

    def close(self) -> None:
        """Remove the event listeners from the engines."""
        for renewal in self._renewals:
            renewal.close()

    def _lent(self) -> tuple[psycopg.Connection[Any], Any]:
        try:
            pooled = self._engine.raw_connection()
        except (psycopg.Error, SQLAlchemyError, OSError) as exc:
            self.why_away = described(exc)
            self._away_until = time.monotonic() + drawn(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            raise
        self._pause, self._away_until = FIRST_PAUSE, 0.0
        raw = pooled.driver_connection
        assert isinstance(raw, psycopg.Connection)
        _widen(raw)
        return raw, pooled


class _Renewal:
    """Replaces the pooled connections of an engine that were opened before an error that condemned them.

    Connections opened while the server was read-only stay read-only, and those to a demoted primary stay on it; a
    liveness check does not notice either.
    """

    def __init__(self, engine: Engine) -> None:
        self.due = False
        self._engine = engine
        event.listen(engine, "checkout", self._renew)

    def close(self) -> None:
        event.remove(self._engine, "checkout", self._renew)

    def _renew(self, *_: object) -> None:
        """Called by the pool before a connection is used."""
        if self.due:
            self.due = False
            raise InvalidatePoolError("an error of the server said that older connections are of no use")


def drawn(pause: float) -> float:
    """Return a length from the upper half of ``pause``."""
    return pause * _random.uniform(0.5, 1.0)


def described(exc: BaseException) -> str:
    """Return the kind of an error and the first line of its message."""
    text = str(exc).strip()
    return f"{type(exc).__name__}: {text.splitlines()[0] if text else 'no message'}"


def _widen(raw: psycopg.Connection[Any]) -> None:
    """Enlarge the buffer of a local socket to megabytes, as TCP does by itself.

    The server then has rows to work on while this thread waits for the GIL.
    """
    with socket.socket(fileno=os.dup(raw.fileno())) as link:
        if link.family == socket.AF_UNIX:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
