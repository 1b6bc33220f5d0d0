"""Schema upgrades: Alembic under an advisory lock, and the checks an engine makes before it trusts a database."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from sqlalchemy import Connection, text

from sona_pg.errors import DatabaseError, SchemaError
from sona_pg.store.connect import connect, parse_url, translated

MIN_POSTGRES = 160_000
MIN_PGVECTOR = (0, 8)
LOCK = 0x736F6E61  # 'sona', the advisory lock of schema upgrades

EXTENSION_VERSION = text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
EXTENSION_OFFERED = text("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """What a database has and what this release expects."""

    postgres: str
    pgvector: str | None
    revision: str | None
    head: str

    @property
    def current(self) -> bool:
        """Whether the schema is exactly this release's."""
        return self.revision == self.head


def upgrade(url: str, revision: str = "head") -> SchemaStatus:
    """Bring the schema of ``url`` to ``revision``; concurrent callers wait for one another.

    Raises:
        DatabaseError: Postgres or pgvector is missing, too old, or refuses.
        SchemaError: the schema is newer than this release.
    """
    return _run(url, "upgrade", revision)


def downgrade(url: str, revision: str = "base") -> SchemaStatus:
    """Take the schema back to ``revision``; ``base`` removes every table, and with them all that was learned."""
    return _run(url, "downgrade", revision)


def status(url: str) -> SchemaStatus:
    """Read what the database has; changes nothing."""
    engine = connect(url)
    try:
        with translated("reading the schema's status", engine.url), engine.connect() as connection:
            return read_status(connection)
    finally:
        engine.dispose()


def read_status(connection: Connection) -> SchemaStatus:
    """Read what the database of ``connection`` has."""
    server = connection.scalar(text("SHOW server_version"))
    has_table = connection.scalar(text("SELECT to_regclass('sona.schema_revision') IS NOT NULL"))
    revision = connection.scalar(text("SELECT version_num FROM sona.schema_revision")) if has_table else None
    return SchemaStatus(
        postgres=str(server),
        pgvector=connection.scalar(EXTENSION_VERSION),
        revision=revision,
        head=_head(),
    )


def _run(url: str, name: str, revision: str) -> SchemaStatus:
    from alembic import command  # a quarter of a second, which only a change of the schema should cost
    from alembic.config import Config

    action = {"upgrade": command.upgrade, "downgrade": command.downgrade}[name]
    engine = connect(url)
    try:
        with translated("upgrading the schema", engine.url), engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            _require_fit_server(connection, url)
            connection.execute(text("CREATE SCHEMA IF NOT EXISTS sona"))
            refuse_newer(read_status(connection))
            config = Config()
            config.set_main_option("script_location", str(files("sona_pg.migrations")))
            config.attributes["connection"] = connection
            action(config, revision)
            return read_status(connection)
    finally:
        engine.dispose()


def refuse_newer(found: SchemaStatus) -> None:
    """Raise ``SchemaError`` if the schema has a revision that this release does not know."""
    if found.revision is not None and found.revision not in _known_revisions():
        raise SchemaError(
            f"the database's schema is at revision {found.revision}, this release of sona-pg knows up to "
            f"{found.head}: upgrade sona-pg on this server, or open another database"
        )


def _require_fit_server(connection: Connection, url: str) -> None:
    where = parse_url(url).render_as_string(hide_password=True)
    number = int(str(connection.scalar(text("SHOW server_version_num"))))
    if number < MIN_POSTGRES:
        raise DatabaseError(f"{where} runs Postgres {number // 10_000}, expected 16 or newer: upgrade the server")
    installed = connection.scalar(EXTENSION_VERSION)
    offered = installed or connection.scalar(EXTENSION_OFFERED)
    if offered is None:
        raise DatabaseError(
            f"{where} has no pgvector: install the extension 'vector' 0.8 or newer on the server "
            "(Debian: postgresql-<major>-pgvector), or use an image that has it (pgvector/pgvector:pg17)"
        )
    if tuple(int(part) for part in offered.split(".")[:2]) < MIN_PGVECTOR:
        raise DatabaseError(
            f"{where} has pgvector {offered}, expected 0.8 or newer: install a newer one on the server, "
            "then ALTER EXTENSION vector UPDATE"
        )
    if installed is None:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))


def _head() -> str:
    return max(_known_revisions())


def _known_revisions() -> set[str]:
    """Return the revisions of this release, as their files are named, without loading Alembic."""
    names = (entry.name for entry in files("sona_pg.migrations").joinpath("versions").iterdir())
    return {name[1:5] for name in names if name.startswith("v") and name.endswith(".py")}
