"""Connections: creates the SQLAlchemy engine of a database, and translates driver errors into ours."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy
from psycopg import sql
from sqlalchemy import Connection, Engine, Executable, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.pool import QueuePool

from sona_pg.errors import ConfigError, DatabaseError, DatabaseRefused, DatabaseUnavailable

CONNECT_TIMEOUT = 5  # seconds
TEXTS = {"client_encoding": "utf8"}  # COPY sends these bytes, whatever PGCLIENTENCODING or the role says
POOL_NAME = "sona_pg"  # in the names of loggers, so that the pools of the application keep their level

# SQLSTATEs after which the pool is discarded, because its connections may stay unusable: connection failure, shutdown
# and failover, read-only server, and termination of an idle or too long transaction.
_SPENT = ("08", "57P", "25006", "25P03", "25P04")
READ_ONLY = "25006"

# SQLSTATE classes after which the same statement may succeed: connection, resources, rollback, shutdown
_TRANSIENT = ("08", "53", "40", "57P")

# SQLSTATE classes after which it will not: unsupported, invalid data, broken constraints, login, missing database or
# schema, and privileges or objects. After the others (locks, time limits) it may, if something else changes.
_LASTING = ("0A", "22", "23", "28", "3D", "3F", "42")
NO_PRIVILEGE = "42501"

# Messages of a permanent refusal, as opposed to an outage. (psycopg gives failed connects no SQLSTATE.)
_REFUSALS = (
    "password authentication failed",
    "authentication failed for user",
    "no password supplied",
    "SSL was required",  # by sslmode; the server has none
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "permission denied for database",
    "no such database",  # PgBouncer
    "no such user",
)
_NOT_THERE = re.compile(r'(database|role) ".*" does not exist')
POOL_GAVE_UP = "This connection is closed"  # SQLAlchemy's message after two failed checkouts

# A list of hosts, as libpq writes it; SQLAlchemy has it in the query.
SEVERAL_HOSTS = re.compile(r"(\w+://)([^@/?#]*@)?([\w.-]+(?::\d*)?(?:,[\w.-]+(?::\d*)?)+)([/?].*)?", re.ASCII)
EXPECTED_URL = "postgresql://user:password@host:5432/database"
# Query parameters whose values may be shown; all others, misspelt ones included, are masked.
SHOWN = ("host", "port", "dbname", "user", "sslmode", "application_name", "connect_timeout", "target_session_attrs")
HIDDEN = "***"


def parse_url(url: str) -> URL:
    """Parse a Postgres URL in any common spelling into a SQLAlchemy URL.

    Raises:
        ConfigError: it is not a URL, or names another database than Postgres.
    """
    if not isinstance(url, str):
        raise ConfigError(f"the database URL is of type {type(url).__name__}, expected text: {EXPECTED_URL}")
    parsed = _parsed(url)
    if parsed is None:
        raise ConfigError(_unreadable(url, "cannot be read (is its port a number?)"))
    if parsed.drivername not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise ConfigError(f"database URL names {parsed.drivername!r}: expected postgresql://…")
    if "@" in (parsed.host or ""):
        raise ConfigError(_unreadable(url, "has more than one '@': write one within a password as %40"))
    return parsed.set(drivername="postgresql+psycopg")


def masked(url: str | URL) -> str:
    """Return the URL for messages and logs, as psql takes it, with secrets masked."""
    try:
        parsed = parse_url(url) if isinstance(url, str) else url
    except ConfigError:
        return "a URL that cannot be read"
    parsed = parsed.set(drivername="postgresql")
    hidden = {name: HIDDEN for name in parsed.query if name not in SHOWN}
    return parsed.update_query_dict(hidden).render_as_string(hide_password=True).replace("%2A%2A%2A", HIDDEN)


def place_of(url: str) -> str:
    """Return a key of the database that ``url`` names, equal for every spelling of that URL.

    User and authentication are not part of it. A host's name and its address give different keys, except for localhost.
    """
    parsed = parse_url(url)
    query = {name: parsed.query.get(name, "") for name in ("host", "hostaddr", "port", "dbname", "service")}
    host = str(query["host"] or parsed.host or "").lower()
    parts = {
        "host": "localhost" if host in ("127.0.0.1", "::1", "[::1]") else host,
        "hostaddr": query["hostaddr"],
        "port": query["port"] or parsed.port or 5432,
        "database": query["dbname"] or parsed.database or parsed.username or "",
        "service": query["service"],
    }
    return json.dumps(parts, sort_keys=True, default=str)


def _parsed(url: str) -> URL | None:
    """Parse a URL, or return None. Raises nothing: the error, even as a context, would quote the password."""
    several = SEVERAL_HOSTS.fullmatch(url)
    try:
        if several is None:
            return make_url(url)
        scheme, user, places, rest = several.groups()
        hosts = [place.partition(":") for place in places.split(",")]
        named = {
            "host": ",".join(host for host, _, _ in hosts),
            "port": ",".join(port or "5432" for _, _, port in hosts),
        }
        return make_url(f"{scheme}{user or ''}{rest or '/'}").update_query_dict(named)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return None


def _unreadable(url: str, why: str) -> str:
    """Return the message for a malformed URL. It quotes the host only: any other part may hold a password."""
    host = re.match("[^:/?#]*", url.rpartition("@")[2] if "@" in url else "")
    shown = f" (…@{host[0]}…)" if host and host[0] else ""
    return f"the database URL{shown} {why}: expected {EXPECTED_URL}"


def driver_arguments(url: str | URL) -> dict[str, Any]:
    """Return the arguments of ``psycopg.connect`` for ``url``: never a URL, which its errors would quote."""
    parsed = parse_url(url) if isinstance(url, str) else url
    _, arguments = parsed.get_dialect()().create_connect_args(parsed)
    return {**arguments, **TEXTS}


def connect(url: str, *, pool_size: int = 4, overflow: int = 4, name: str = "sona-pg") -> Engine:
    """Return an engine for ``url``; it connects when first used, and keeps ``pool_size`` connections open.

    ``name`` is that of its sessions in ``pg_stat_activity``.
    """
    engine = create_engine(
        parse_url(url),
        pool_size=pool_size,
        max_overflow=overflow,
        pool_logging_name=POOL_NAME,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "application_name": name,
            **TEXTS,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            # No prepared statements: a transaction pooler may use another backend for each transaction.
            "prepare_threshold": None,
        },
    )
    _quieten_pool()
    event.listen(engine, "handle_error", _judge)
    event.listen(engine, "connect", lambda raw, _: read_times(raw))
    return engine


def _quieten_pool() -> None:
    """Drop the tracebacks that our pool logs when a lost connection is returned: the error itself is raised."""
    pool_log = logging.getLogger(f"{QueuePool.__module__}.{QueuePool.__name__}.{POOL_NAME}")
    if pool_log.level == logging.NOTSET:
        pool_log.setLevel(logging.CRITICAL)


def read_times(raw: psycopg.Connection[Any]) -> None:
    """Set ISO dates, which psycopg parses, on a new connection if the role or database has another default.

    Poolers track this setting per client, so it does not leak to others.
    """
    if not (raw.info.parameter_status("DateStyle") or "ISO").startswith("ISO"):
        raw.execute("SET datestyle TO ISO")
        if not raw.autocommit:
            raw.commit()


def is_spent(exc: BaseException | None) -> bool:
    """Return whether a driver error means that the pool's connections should be replaced."""
    return isinstance(exc, psycopg.Error) and (exc.sqlstate or "").startswith(_SPENT)


def _judge(context: ExceptionContext) -> None:
    """SQLAlchemy event: discard the pool after such an error, as after a lost connection."""
    if is_spent(context.original_exception):
        context.is_disconnect = True


def driver_connection(connection: Connection) -> psycopg.Connection[Any]:
    """Return psycopg's own connection, for COPY and NOTIFY."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    return raw


def copy_query(connection: Connection, query: Executable | sql.Composed) -> str:
    """Return ``COPY (query) TO STDOUT`` in the binary format; COPY takes no parameters, so they are rendered.

    Rendering takes half a millisecond, but next to nothing of a ``Composed`` one, which is for queries of each server.
    """
    if isinstance(query, sql.Composed):
        text = query.as_string(driver_connection(connection))
    else:
        text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))  # type: ignore[attr-defined]
    return f"COPY ({text}) TO STDOUT (FORMAT BINARY)"


@contextmanager
def judged(connection: Connection) -> Iterator[None]:
    """Distinguish, within ``translated``, a statement that the driver cannot send from a lost connection.

    Both are errors without SQLSTATE, but only the second may succeed when retried.

    Raises:
        psycopg.ProgrammingError: the statement cannot be sent.
    """
    raw = driver_connection(connection)
    try:
        yield
    except psycopg.OperationalError as exc:
        if exc.sqlstate or raw.closed:
            raise
        raise psycopg.ProgrammingError(str(exc)) from exc


@contextmanager
def translated(doing: str, url: URL | None = None) -> Iterator[None]:
    """Translate driver errors into ours; ``doing`` and ``url`` name the operation and the database.

    Raises:
        DatabaseUnavailable: the server is away, or asks to try again.
        DatabaseRefused: the server refused the login or the statement, and will do so again.
        DatabaseError: the server refused the statement.
    """
    try:
        yield
    except (sqlalchemy.exc.DBAPIError, psycopg.Error) as exc:
        raise _translate(exc, doing, url) from exc
    except sqlalchemy.exc.TimeoutError as exc:
        raise DatabaseUnavailable(f"{doing}: every pooled connection is in use; use fewer threads") from exc
    except sqlalchemy.exc.InvalidRequestError as exc:
        if str(exc) != POOL_GAVE_UP:
            raise
        raise DatabaseUnavailable(f"{doing}: connections end as soon as they are made; try again later") from exc


def at(url: URL | None) -> str:
    """Return the place of a database as messages name it."""
    return "" if url is None else f" at {masked(url)}"


def _translate(exc: Exception, doing: str, url: URL | None) -> DatabaseError:
    original = exc.orig if isinstance(exc, sqlalchemy.exc.DBAPIError) else exc
    state = getattr(original, "sqlstate", None) or ""
    lost = isinstance(original, psycopg.OperationalError) and not state
    if isinstance(exc, sqlalchemy.exc.DBAPIError):  # a statement implies an established connection
        lost = exc.connection_invalidated or (lost and exc.statement is None)
    where = at(url)
    reason = str(original).strip().splitlines()[0] if str(original).strip() else type(original).__name__
    if lost and (any(words in str(original) for words in _REFUSALS) or _NOT_THERE.search(str(original))):
        return DatabaseRefused(
            f"{doing}: Postgres{where} refused the connection ({reason}); check user, password and name"
        )
    if state == READ_ONLY:
        return DatabaseUnavailable(
            f"{doing}: Postgres{where} takes no writes now ({reason}); "
            "wait until it does, or name the primary (target_session_attrs=read-write)"
        )
    if lost or state.startswith(_TRANSIENT):
        return DatabaseUnavailable(
            f"{doing}: Postgres{where} does not answer ({reason}); check that it runs and that the URL is right"
        )
    told = f"{doing}: Postgres{where} refused ({state or 'no SQLSTATE'}: {reason})"
    if state.startswith(_LASTING):
        return DatabaseRefused(told, reason if state == NO_PRIVILEGE else "")
    return DatabaseError(told)
