"""Openers of connections: for single statements, one transaction, or one snapshot; each with a time limit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.errors import QueryCanceled
from sqlalchemy import Connection, Engine, TextClause, text
from sqlalchemy.exc import DBAPIError, OperationalError

from sona_pg.errors import DatabaseUnavailable
from sona_pg.store.connect import at, judged, translated
from sona_pg.store.deadlines import deadlines

BRIEF = 10.0  # seconds, for statements that take milliseconds
PROMPT = 2.0  # seconds, for those that a caller waits for, who has something to tell without them


def limit_of(seconds: float) -> TextClause:
    """Return the statement after which the server cancels those of the transaction that take longer."""
    return text(f"SET LOCAL statement_timeout = {1000 * seconds:.0f}")


SERVER_LIMIT = limit_of(PROMPT)


@contextmanager
def _connected(engine: Engine, doing: str, limit: float, **options: str) -> Iterator[Connection]:
    with (
        translated(doing, engine.url),
        engine.connect().execution_options(**options) as connection,
        judged(connection),
        deadlines.over(connection, limit) as watched,
    ):
        try:
            yield connection
        except (DBAPIError, psycopg.Error) as exc:
            if not watched.overdue:
                raise
            raise DatabaseUnavailable(
                f"{doing}: no answer within {limit:g} s, so the call was ended: Postgres{at(engine.url)} is busy, "
                "a lock is held, or the network lets nothing through"
            ) from exc


@contextmanager
def reading(engine: Engine, doing: str, limit: float = math.inf) -> Iterator[Connection]:
    """Yield a connection in autocommit mode, which is never idle in a transaction."""
    with _connected(engine, doing, limit, isolation_level="AUTOCOMMIT") as connection:
        yield connection


@contextmanager
def snapshot(engine: Engine, doing: str, limit: float = math.inf) -> Iterator[Connection]:
    """Yield a connection whose statements all read one snapshot."""
    with _connected(engine, doing, limit, isolation_level="REPEATABLE READ") as connection, connection.begin():
        yield connection


@contextmanager
def transaction(engine: Engine, doing: str, limit: float = math.inf) -> Iterator[Connection]:
    """Yield a connection in a transaction that commits when the block ends without an error."""
    with _connected(engine, doing, limit) as connection, connection.begin():
        yield connection


@contextmanager
def prompt(engine: Engine, doing: str) -> Iterator[Connection]:
    """Yield a connection in a transaction whose statements the server cancels after ``PROMPT`` seconds.

    A deadline of this process alone leaves a statement that waits for a lock behind, as a session of the server.

    Raises:
        DatabaseUnavailable: the server is away, or a statement was cancelled.
    """
    with _connected(engine, doing, BRIEF) as connection, connection.begin():
        connection.execute(SERVER_LIMIT)
        try:
            yield connection
        except (OperationalError, QueryCanceled) as exc:
            if not isinstance(getattr(exc, "orig", exc), QueryCanceled):
                raise
            raise DatabaseUnavailable(f"{doing}: no answer within {PROMPT:g} s; a lock is held, or it is busy") from exc
