"""Options shared by commands, and access to the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from sona_pg.config import Environment, LoopConfig, SonaConfig
from sona_pg.errors import InvalidValue, SonaError

if TYPE_CHECKING:
    from sona_pg.engine import SonaEngine
    from sona_pg.store.database import Database

Url = Annotated[
    str | None,
    typer.Option(help="Database URL; else SONA_PG_URL, else the embedded Postgres.", show_default=False),
]


def complete_space(incomplete: str) -> list[str]:
    """Return the names of spaces that begin with ``incomplete``; the embedded server is not started for that."""
    url = Environment.read().url
    if url is None:
        return []
    from sona_pg.store.database import Database

    try:
        database = Database.at(url, 1)
        try:
            return sorted(name for name in database.names().values() if name.startswith(incomplete))
        finally:
            database.close()
    except SonaError:
        return []


SpaceName = Annotated[str, typer.Option(help="Name of the space.", autocompletion=complete_space)]
Limit = Annotated[int, typer.Option(help="How many rows at most.", min=1)]


@contextmanager
def address_of(url: str | None) -> Iterator[str]:
    """Yield the database's URL; the embedded server runs while the block does."""
    environment = Environment.read()
    address = url or environment.url
    if address is not None:
        yield address
        return
    from sona_pg.store.admin.embedded import start_embedded

    server = start_embedded(environment.home)
    try:
        yield server.url
    finally:
        server.release()


@contextmanager
def database_at(url: str | None) -> Iterator[Database]:
    """Yield the database, with its schema checked, while the block runs."""
    from sona_pg.store.database import Database

    with address_of(url) as address:
        database = Database.open(address, Environment.read().migrate)
        try:
            yield database
        finally:
            database.close()


@contextmanager
def engine_on(space: str, url: str | None) -> Iterator[SonaEngine]:
    """Open an existing space with automatic learning off; it learns with the space's own settings."""
    from sona_pg.engine import SonaEngine
    from sona_pg.store.database import Database

    with address_of(url) as address:
        database = Database.open(address, Environment.read().migrate)
        try:
            found = database.find_space(space)
        finally:
            database.close()
        config = SonaConfig(loops=LoopConfig(automatic=False))
        with SonaEngine(found.dim, address, space, config=config, create=False) as engine:
            yield engine


def read_time(told: str | None, option: str) -> datetime | None:
    """Return the time that an option tells in ISO 8601, UTC unless it has a zone; InvalidValue for other texts."""
    if told is None:
        return None
    try:
        at = datetime.fromisoformat(told)
    except ValueError as exc:
        raise InvalidValue(f"{option} {told}: expected ISO 8601, such as 2026-11-01 or 2026-11-01T12:00Z") from exc
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
