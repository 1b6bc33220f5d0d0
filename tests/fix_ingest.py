"""A space to write into, and writers that are closed when the test ends."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import Engine

from sona_pg.config import IngestConfig
from sona_pg.errors import DatabaseUnavailable, SpaceRemoved
from sona_pg.ingest import Writer, WriterPool, WriterRequest
from sona_pg.recorder import HotPath
from sona_pg.store.connect import connect

DIM = 16
SPACE = 7


@dataclass
class Space:
    """One space of a fresh database, with this server's row in it."""

    url: str
    server_id: uuid.UUID

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query, values).fetchall()  # type: ignore[call-overload,no-any-return]

    def execute(self, query: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(query)  # type: ignore[call-overload]

    def count(self, table: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM sona.{table} WHERE space_id = {SPACE}")[0][0])

    def ids(self) -> set[uuid.UUID]:
        return {row[0] for row in self.rows(f"SELECT id FROM sona.trajectories WHERE space_id = {SPACE}")}


@pytest.fixture
def space(database_url: str) -> Space:
    space = Space(database_url, uuid.uuid4())
    now = datetime.now(UTC)
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT sona.ensure_partitions(%s, 2)", [now])
        connection.execute(
            "INSERT INTO sona.spaces (space_id, name, dim, created_at) VALUES (%s, 'test', %s, %s)", [SPACE, DIM, now]
        )
        connection.execute(
            "INSERT INTO sona.servers (space_id, server_id, host, pid, release, started_at, seen_at, serving_version)"
            " VALUES (%s, %s, 'here', 1, '0', %s, %s, 0)",
            [SPACE, space.server_id, now, now],
        )
    return space


@pytest.fixture
def hot() -> HotPath:
    return HotPath(DIM, 1000, 1 << 20)


@pytest.fixture
def open_writer(space: Space, tmp_path: Path) -> Iterator[Callable[..., Writer]]:
    """Open a writer: `open_writer(hot, url=..., durability=...)`."""
    writers: list[Writer] = []
    engines: list[Engine] = []

    def open_one(hot: HotPath, url: str | None = None, home: Path = tmp_path, **settings: Any) -> Writer:
        own = ("durability", "flush_interval", "when_full", "buffer_bytes")
        config = {key: settings.pop(key) for key in own if key in settings}
        engine = connect(url or space.url)
        engines.append(engine)
        shared = {key: settings.pop(key) for key in ("stall_timeout", "services") if key in settings}
        request = WriterRequest(
            space_id=SPACE,
            server_id=settings.pop("server_id", space.server_id),
            config=IngestConfig(**{"flush_interval": 0.01, **config}),
            home=home,
            **settings,
        )
        writer = Writer(hot, engine, request, **shared)
        writers.append(writer)
        return writer

    yield open_one
    for writer in writers:
        with contextlib.suppress(DatabaseUnavailable):  # a test of losses has closed it, and looked, itself
            writer.close(timeout=5)
    for engine in engines:
        engine.dispose()


@pytest.fixture
def record() -> Callable[..., uuid.UUID]:
    """Record one whole trajectory and return its id."""

    def record_one(hot: HotPath, quality: float | None = 0.5, steps: int = 0, route: str | None = None) -> uuid.UUID:
        trajectory = hot.begin_trajectory(np.full(DIM, 0.25, np.float32))
        for step in range(steps):
            hot.add_step(trajectory, np.full(DIM, step, np.float32), np.ones(3, np.float32), 0.1 * step)
        if route is not None:
            hot.set_trajectory_route(trajectory, route)
        hot.end_trajectory(trajectory, quality)
        return trajectory.id

    return record_one


@pytest.fixture
def pool_at() -> Iterator[Callable[..., WriterPool]]:
    """Make a pool that writes to a database: `pool_at(url)`."""
    made: list[tuple[WriterPool, Engine]] = []

    def make(url: str, **settings: float) -> WriterPool:
        engine = connect(url)
        made.append((WriterPool(engine, **settings), engine))
        return made[-1][0]

    yield make
    for pool, engine in made:
        with contextlib.suppress(DatabaseUnavailable, SpaceRemoved):  # a test of losses has looked itself
            pool.close()
        engine.dispose()


@pytest.fixture
def open_space(tmp_path: Path) -> Callable[..., tuple[HotPath, Writer]]:
    """Open a space: `open_space(pool, space_id, durability=...)`."""

    def open_one(pool: WriterPool, space_id: int, capacity: int = 1000, **settings: Any) -> tuple[HotPath, Writer]:
        on_batch = settings.pop("on_batch", None)
        hot = HotPath(DIM, capacity, 1 << 20)
        config = IngestConfig(**{"flush_interval": 0.02, **settings})
        request = WriterRequest(
            space_id=space_id, server_id=uuid.uuid4(), config=config, home=tmp_path, on_batch=on_batch,
            space_name=f"space {space_id}",
        )  # fmt: skip
        writer = pool.open(hot, request)
        return hot, writer

    return open_one
