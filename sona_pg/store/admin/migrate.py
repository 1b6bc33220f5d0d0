"""Schema upgrades: Alembic under an advisory lock, and the checks of a database before an engine uses it.

Servers of the previous release keep recording meanwhile: a revision runs in short transactions, each of which gives up
its locks rather than block them.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.resources import files

from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from sona_pg.config import Migrate
from sona_pg.errors import SOURCE_TREE, ConfigError, DatabaseError, DatabaseUnavailable, SchemaError
from sona_pg.store.admin import roles, spreading
from sona_pg.store.connect import connect, driver_connection, masked, translated

log = logging.getLogger(__name__)

_random = random.SystemRandom()  # never the application's `random`

MIN_POSTGRES = 160_000
MIN_PGVECTOR = (0, 8)
LOCK = 0x736F6E61  # 'sona', the advisory lock of schema upgrades

# Below the default deadlock_timeout of one second, so that the upgrade gives up and never a recorder.
BRIEF = "SET LOCAL lock_timeout = '900ms'; SET LOCAL statement_timeout = 0"
PAUSES = (*[0.05] * 4, *[0.2] * 5, *[1.0] * 10, *[2.0] * 20)  # seconds between attempts: about a minute

ASIDE = "sona_before_restore"  # name of a store while an earlier release restored another one
STORE_ASIDE = text(f"SELECT to_regnamespace('sona') IS NULL AND to_regnamespace('{ASIDE}') IS NOT NULL")
TELLS_WHOM = text("SELECT to_regprocedure('sona.serves_from()') IS NOT NULL")
SERVES_FROM = text("SELECT sona.serves_from()")
EXTENSION_VERSION = text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
# No row if the role's search_path includes pgvector's schema; otherwise that schema and the statements that add it.
EXTENSION_HIDDEN = text("""
SELECT e.extnamespace::regnamespace::text, current_user::text, current_setting('search_path'),
       format('ALTER ROLE %I SET search_path = %s', current_user,
              concat_ws(', ', nullif(current_setting('search_path'), ''), e.extnamespace::regnamespace::text)),
       format('GRANT USAGE ON SCHEMA %s TO %I', e.extnamespace::regnamespace::text, current_user)
FROM pg_extension e
WHERE e.extname = 'vector' AND (to_regtype('vector') IS NULL OR to_regtype('halfvec') IS NULL)
""")
EXTENSION_OFFERED = text("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """Versions found in a database, and the revision this release expects."""

    postgres: str
    server_number: int  # 160004 of Postgres 16.4
    pgvector: str | None
    pgvector_offered: str | None  # what CREATE EXTENSION would install
    revision: str | None
    head: str
    serves_from: str | None = None  # the earliest revision whose release the schema serves; None: it does not tell

    @property
    def current(self) -> bool:
        """Whether the schema is exactly this release's."""
        return self.revision == self.head

    @property
    def serves(self) -> bool:
        """Whether this release may work on the schema: it is its own, or a later one that still serves it."""
        if self.current:
            return True
        is_later = self.revision is not None and self.revision not in _known_revisions()
        return is_later and self.serves_from is not None and self.serves_from <= self.head


def upgrade(url: str, revision: str = "head") -> SchemaStatus:
    """Bring the schema of ``url`` to ``revision``; concurrent callers wait for one another.

    Where row-level security is installed, new tables get it, and group roles their privileges on them. New tables of
    a distributed store are distributed.

    Raises:
        DatabaseError: Postgres or pgvector is missing, too old, or refuses.
        SchemaError: the schema is newer than this release.
    """
    reached = _run(url, "upgrade", revision)
    if reached.current:
        spreading.renew(url, LOCK)
        roles.renew(url)
    return reached


def downgrade(url: str, revision: str = "base") -> SchemaStatus:
    """Downgrade the schema to ``revision``; ``base`` drops every table, and all learned state with them.

    Raises:
        ConfigError: the store is distributed; earlier revisions change tables in ways that Citus refuses.
    """
    if spreading.is_distributed(url):
        raise ConfigError(
            f"the store of {masked(url)} is distributed over Citus, where the schema goes forward only: restore a dump "
            "that the earlier release took into an empty database, or keep this release"
        )
    return _run(url, "downgrade", revision)


def prepare(url: str, policy: Migrate) -> None:
    """Migrate an empty or older schema, or with ``"check"`` refuse it; leave a later one that serves this release.

    Raises:
        DatabaseError: Postgres or pgvector is missing, too old, or refuses.
        SchemaError: the schema is later and does not serve this release, or older and must not be migrated.
    """
    found = status(url)
    refuse_unserved(found)
    if found.current:
        return
    if found.serves:
        log.warning(
            "the schema is at revision %s, of a later release of sona-pg than this one (%s), which it still serves",
            found.revision, found.head,
        )  # fmt: skip
        return
    if policy == "check":
        refuse_older(found)
    upgrade(url)


def status(url: str) -> SchemaStatus:
    """Return the status of the schema at ``url``, without changing it.

    Raises:
        DatabaseUnavailable: nothing answers at ``url``.
        DatabaseError: the role's search_path does not lead to pgvector.
    """
    engine = connect(url)
    try:
        with translated("reading the schema's status", engine.url), engine.connect() as connection:
            _require_path(connection, url)
            return read_status(connection)
    finally:
        engine.dispose()


def read_status(connection: Connection) -> SchemaStatus:
    """Return the status of the schema."""
    server = connection.scalar(text("SHOW server_version"))
    has_table = connection.scalar(text("SELECT to_regclass('sona.schema_revision') IS NOT NULL"))
    revision = connection.scalar(text("SELECT version_num FROM sona.schema_revision")) if has_table else None
    return SchemaStatus(
        postgres=str(server),
        server_number=int(str(connection.scalar(text("SHOW server_version_num")))),
        pgvector=connection.scalar(EXTENSION_VERSION),
        pgvector_offered=connection.scalar(EXTENSION_OFFERED),
        revision=revision,
        head=_head(),
        serves_from=connection.scalar(SERVES_FROM) if connection.scalar(TELLS_WHOM) else None,
    )


def _run(url: str, name: str, revision: str) -> SchemaStatus:
    engine = connect(url)
    try:
        with translated("changing the schema", engine.url):
            while True:
                with engine.begin() as connection:
                    before = _begin(connection, url)
                    if before.revision is None:  # new schema, no other users: one transaction
                        return _step(connection, name, revision)
                    target = _next(name, before.revision, revision)
                if target is None:
                    return before
                steps = _steps(target) if name == "upgrade" else []
                for step in steps:
                    _patiently(engine, url, before.revision, target, partial(_execute, step=step))
                _patiently(
                    engine,
                    url,
                    before.revision,
                    target,
                    partial(_step, name=name, revision=target, stepped=bool(steps)),
                )
    finally:
        engine.dispose()


def _begin(connection: Connection, url: str) -> SchemaStatus:
    """Take the upgrade lock for this transaction, and return the schema's status under it."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    _require_fit_server(connection, url)
    if connection.scalar(STORE_ASIDE):
        raise DatabaseError(
            f"the store of {masked(url)} is in the schema {ASIDE}: a restore was ended before it put another one in "
            f"its place; ALTER SCHEMA {ASIDE} RENAME TO sona puts it back"
        )
    connection.execute(text("CREATE SCHEMA IF NOT EXISTS sona"))
    found = read_status(connection)
    refuse_newer(found)
    return found


def _patiently(engine: Engine, url: str, before: str, target: str, change: Callable[[Connection], object]) -> None:
    """Apply part of the change from revision ``before`` to ``target``, retrying until its locks are free.

    Recorders queue behind a pending exclusive lock request. An attempt that meets a long-running reader therefore rolls
    back, and is repeated after a pause.
    """
    for pause in [*PAUSES, None]:
        try:
            with engine.begin() as connection:
                if _begin(connection, url).revision == before:  # else another process has applied it meanwhile
                    connection.execute(text(BRIEF))
                    change(connection)
                return
        except (OperationalError, LockNotAvailable, DeadlockDetected) as exc:
            original = exc.orig if isinstance(exc, OperationalError) else exc
            if not isinstance(original, LockNotAvailable | DeadlockDetected):
                raise
            if pause is None:
                raise DatabaseUnavailable(
                    f"the schema of {masked(url)} stays at revision {before}: in {len(PAUSES) + 1} attempts at "
                    f"{target} a long transaction kept its tables; end it (pg_stat_activity), then run "
                    "sona-pg db upgrade"
                ) from exc
            log.info("the schema waits for a long transaction to end before revision %s", target)
            time.sleep(pause * _random.uniform(0.5, 1.0))


def _next(name: str, current: str, wanted: str) -> str | None:
    """Return the next revision from ``current`` towards ``wanted``, or None if it is reached."""
    known = sorted(_known_revisions())
    place = known.index(current)
    if name == "upgrade":
        last = known.index(_head() if wanted == "head" else wanted)
        return known[place + 1] if place < last else None
    first = -1 if wanted == "base" else known.index(wanted)
    if place <= first:
        return None
    return known[place - 1] if place else "base"


def _steps(revision: str) -> list[str]:
    """Return a revision's ``STEPS``: statements that run in a transaction each, before its ``upgrade``.

    Each touches one table and is idempotent.
    """
    (name,) = (name for name in _revision_files() if name.startswith(f"v{revision}_"))
    module = import_module(f"sona_pg.migrations.versions.{name.removesuffix('.py')}")
    return list(getattr(module, "STEPS", ()))


def _execute(connection: Connection, step: str) -> None:
    driver_connection(connection).execute(step.encode())  # bytes, so that : and % need no escape


def _step(connection: Connection, name: str, revision: str, stepped: bool = False) -> SchemaStatus:
    from alembic import command  # imported late: a quarter of a second that only schema changes need
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("sona_pg.migrations")))
    config.attributes["connection"] = connection
    config.attributes["stepped"] = stepped
    {"upgrade": command.upgrade, "downgrade": command.downgrade}[name](config, revision)
    return read_status(connection)


def refuse_unserved(found: SchemaStatus) -> None:
    """Raise ``SchemaError`` if the schema is a later release's, and does not serve this one."""
    if not found.serves:
        refuse_newer(found)


def refuse_newer(found: SchemaStatus) -> None:
    """Raise ``SchemaError`` if the schema has a revision that this release does not know: it must not change it."""
    if found.revision is not None and found.revision not in _known_revisions():
        raise SchemaError(
            f"the database's schema is at revision {found.revision}, this release of sona-pg knows up to "
            f"{found.head}: upgrade sona-pg on this server, or open another database"
        )


def refuse_older(found: SchemaStatus) -> None:
    """Raise ``SchemaError`` unless the schema is this release's."""
    if not found.current:
        has = f"is at revision {found.revision}" if found.revision else "is not there"
        raise SchemaError(
            f"the schema {has}, this release of sona-pg needs {found.head}: run sona-pg db upgrade as the role that "
            "owns it, or let engines do that when they open it (migrate='auto', SONA_PG_MIGRATE=auto)"
        )


def refuse_server(found: SchemaStatus, where: str) -> None:
    """Raise ``DatabaseError`` if the Postgres at ``where`` is too old."""
    if found.server_number < MIN_POSTGRES:
        raise DatabaseError(
            f"{where} runs Postgres {found.server_number // 10_000}, expected 16 or newer: upgrade the server"
        )


def refuse_extension(found: SchemaStatus, where: str) -> None:
    """Raise ``DatabaseError`` if pgvector is neither in the database nor on its server, or is too old."""
    version = found.pgvector or found.pgvector_offered
    if version is None:
        raise DatabaseError(
            f"{where} has no pgvector: install the extension 'vector' 0.8 or newer on the server "
            "(Debian: postgresql-<major>-pgvector), or use an image that has it (pgvector/pgvector:pg17)"
        )
    if tuple(int(part) for part in version.split(".")[:2]) < MIN_PGVECTOR:
        raise DatabaseError(
            f"{where} has pgvector {version}, expected 0.8 or newer: install a newer one on the server, "
            "then ALTER EXTENSION vector UPDATE"
        )


def _require_fit_server(connection: Connection, url: str) -> None:
    found = read_status(connection)
    refuse_server(found, masked(url))
    refuse_extension(found, masked(url))
    if found.pgvector is None:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
    _require_path(connection, url)


def _require_path(connection: Connection, url: str) -> None:
    """Raise if pgvector is installed but outside this role's search_path: every batch names its types."""
    hidden = connection.execute(EXTENSION_HIDDEN).one_or_none()
    if hidden is not None:
        schema, role, path, alter, grant = hidden
        raise DatabaseError(
            f"{masked(url)}: pgvector is in schema {schema}, to which the search_path of role {role} ({path}) does not "
            f"lead: {alter}; if the schema is on it already, {grant}"
        )


def _head() -> str:
    return max(_known_revisions())


def _known_revisions() -> set[str]:
    """Return the revisions of this release, as their files are named, without loading Alembic."""
    return {name[1:5] for name in _revision_files()}


def _revision_files() -> list[str]:
    try:
        folder = files("sona_pg.migrations")
    except ModuleNotFoundError as exc:
        raise ConfigError(SOURCE_TREE) from exc
    names = (entry.name for entry in folder.joinpath("versions").iterdir())
    return [name for name in names if name.startswith("v") and name.endswith(".py")]
