"""A temporary embedded Postgres with a space, for benchmarks."""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from sona_pg.store.admin.embedded import start_embedded
from sona_pg.store.admin.migrate import upgrade

DIM, SPACE = 256, 1


@contextmanager
def server(parent: Path) -> Iterator[str]:
    """Start one in a folder of its own under ``parent``; yield its URL."""
    home = Path(tempfile.mkdtemp(prefix="sona-pg-bench-", dir=parent))
    home.chmod(0o755)
    try:
        with start_embedded(home) as started:
            with psycopg.connect(started.url) as connection:
                version = connection.info.server_version
            print(
                f"-- Postgres {version // 10_000}.{version % 10_000}, embedded, default settings, in {home}", flush=True
            )
            yield started.url
        deadline = time.monotonic() + 30
        while (home / "postgres" / "data" / "postmaster.pid").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def prepare(url: str) -> uuid.UUID:
    """Make the schema and one space; return the id of a server in it."""
    upgrade(url)
    now, made = datetime.now(UTC), uuid.uuid4()
    with psycopg.connect(url) as connection:
        connection.execute("SELECT sona.ensure_partitions(%s, 2)", [now])
        connection.execute(
            "INSERT INTO sona.spaces (space_id, name, dim, created_at) VALUES (%s, 'bench', %s, %s)", [SPACE, DIM, now]
        )
        connection.execute(
            "INSERT INTO sona.servers (space_id, server_id, host, pid, release, started_at, seen_at, serving_version)"
            " VALUES (%s, %s, 'bench', 0, '0', %s, %s, 0)",
            [SPACE, made, now, now],
        )
    return made


def empty(url: str) -> None:
    """Delete all records."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE sona.trajectories, sona.steps, sona.batches")
        connection.execute("CHECKPOINT")
