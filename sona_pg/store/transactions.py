"""Openers of connections: for single statements, one transaction, or one snapshot; each with a time limit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from sona_pg.store.connect import judged, translated
from sona_pg.store.deadlines import deadlines

BRIEF = 10.0  # seconds, for statements that take milliseconds


@contextmanager
def _connected(engine: Engine, doing: str, limit: float, **options: str) -> Iterator[Connection]:
    with (
        translated(doing, engine.url),
        engine.connect().execution_options(**options) as connection,
        judged(connection),
        deadlines.over(connection, limit),
    ):
        yield connection


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
