"""How the store opens connections: single statements, one transaction, or a view of one moment; each with a limit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from sona_pg.store.connect import judged, translated
from sona_pg.store.deadlines import deadlines

BRIEF = 10.0  # seconds for what takes milliseconds


@contextmanager
def reading(engine: Engine, doing: str, limit: float = math.inf) -> Iterator[Connection]:
    """Give a connection on which each statement stands alone: nothing is idle in a transaction between them."""
    with (
        translated(doing, engine.url),
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        judged(connection),
        deadlines.over(connection, limit),
    ):
        yield connection


@contextmanager
def snapshot(engine: Engine, doing: str, limit: float = math.inf) -> Iterator[Connection]:
    """Give a connection whose statements all see the store as of one moment."""
    with (
        translated(doing, engine.url),
        engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
        judged(connection),
        deadlines.over(connection, limit),
        connection.begin(),
    ):
        yield connection


@contextmanager
def transaction(engine: Engine, doing: str, limit: float = math.inf) -> Iterator[Connection]:
    """Give a connection in a transaction that commits when the block ends without an error."""
    with (
        translated(doing, engine.url),
        engine.connect() as connection,
        judged(connection),
        deadlines.over(connection, limit),
        connection.begin(),
    ):
        yield connection
