"""Connections for index builds: CREATE INDEX CONCURRENTLY and VACUUM run outside transactions, without SET LOCAL.

Behind a pooler a build runs with the server's settings. It is refused where they include a ``statement_timeout``, which
would cancel every build and leave an invalid index to be rebuilt an hour later.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy.engine import URL

from sona_pg.store.connect import driver_arguments
from sona_pg.store.sessions import open_session

UNLIMITED = {"statement_timeout": "0", "lock_timeout": "600000"}


class CannotBuild(Exception):
    """The address leads to a pooler whose statement_timeout would cancel every build."""


@dataclass(frozen=True, slots=True)
class Builder:
    """An autocommit connection for building indexes."""

    raw: psycopg.Connection[Any]
    direct: bool  # no pooler in between, so the requested memory setting applies


@contextmanager
def builder(url: URL, memory_mb: int, *, parallel: bool = True) -> Iterator[Builder]:
    """Open a connection for building an index, and close it.

    Raises:
        CannotBuild: the address leads to a pooler, and the settings there would end the build.
    """
    settings = {**UNLIMITED, "maintenance_work_mem": f"{memory_mb}MB"}
    if not parallel:
        settings["max_parallel_maintenance_workers"] = "0"
    raw, direct = open_session(driver_arguments(url), "sona-pg maintenance build", settings)
    with raw:
        limit = raw.execute("SHOW statement_timeout").fetchone()
        if not direct and limit != ("0",):
            raise CannotBuild(
                f"the address leads to a pooler, and statement_timeout = {limit and limit[0]} there would end the "
                "build: run sona-pg maintain with the address of Postgres itself, or set the role's to 0"
            )
        yield Builder(raw, direct)
