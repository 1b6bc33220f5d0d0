"""Health of a store, as its database tells it: server, extension, schema, settings, clocks, pooler, fleet, learning."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from sona_pg.domain.finding import Finding
from sona_pg.errors import DatabaseError, SonaError
from sona_pg.store.admin import migrate
from sona_pg.store.admin.dumping import REPLACED
from sona_pg.store.admin.held_locks import held_locks
from sona_pg.store.admin.space_health import MOST_SKEW, one, space_checks
from sona_pg.store.admin.spreading import HASHED_TABLES, REFERENCE_TABLES
from sona_pg.store.connect import driver_arguments, masked, parse_url, translated
from sona_pg.store.sessions import open_session
from sona_pg.store.topology import describe, read_topology

LISTEN_FOR = 2.0  # seconds to wait for a notice to oneself
SHARE_OF_CONNECTIONS = 0.8  # in use, at most

# Setting, whether a value is well, and the advice; a fault where data can be lost.
SETTINGS: Sequence[tuple[str, Callable[[str], bool], str, str]] = (
    ("fsync", lambda on: on == "on", "fault", "a crash of the machine can destroy the whole database: set fsync = on"),
    ("full_page_writes", lambda on: on == "on", "fault", "a crash can damage pages: set full_page_writes = on"),
    ("default_transaction_read_only", lambda on: on == "off", "fault", "nothing can be recorded: set it off"),
    ("autovacuum", lambda on: on == "on", "warning", "tables and indexes grow without end: set autovacuum = on"),
    ("track_counts", lambda on: on == "on", "warning", "autovacuum needs it: set track_counts = on"),
    (
        "max_locks_per_transaction",
        lambda number: int(number) >= 64,
        "warning",
        "searches touch many partitions and their indexes: set it to 64 or more",
    ),
)
TIMES = ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout")
CONNECTIONS = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       current_setting('max_connections')::int
"""
CLOSED = """
SELECT c.relname::text FROM pg_class c
WHERE c.relnamespace = to_regnamespace('sona') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relrowsecurity AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)
ORDER BY 1
"""
SILENT_NODES = "SELECT from_nodename || ':' || from_nodeport FROM citus_check_cluster_node_health() WHERE NOT result"
LEFT = "SELECT to_regnamespace(%(name)s) IS NOT NULL"


def examine(url: str) -> Iterator[Finding]:
    """Examine the store at ``url``; what cannot be looked at, because of an earlier fault, is left out."""
    try:
        status = migrate.status(url)
    except SonaError as exc:
        yield Finding("database", "fault", str(exc), "see that Postgres runs, and that SONA_PG_URL or --url names it")
        return
    try:
        migrate.refuse_server(status, masked(url))
        yield Finding("database", "ok", f"Postgres {status.postgres} at {masked(url)}")
    except DatabaseError as exc:
        yield Finding("database", "fault", str(exc), "a newer server, and pg_upgrade for what this one has")
    yield _extension(status, masked(url))
    yield _schema(status)
    try:
        with translated("examining the store", parse_url(url)), _connected(url) as raw:
            yield from _leftovers(raw)
            yield from _server(raw)
            yield _clock(raw)
            yield _notices(url, raw)
            locked = held_locks(raw)
            if locked is not None:  # the other checks would wait for it
                yield locked
                return
            yield from _distribution(raw)
            yield from _closed_tables(raw)
            if status.serves:
                yield from space_checks(raw)
    except DatabaseError as exc:
        yield Finding("database", "fault", str(exc), "give this role the grants of docs/roles.md, or use another one")


def _connected(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(
        **{"connect_timeout": 5, "application_name": "sona-pg doctor", **driver_arguments(url)},
        autocommit=True,
        prepare_threshold=None,
    )


def _extension(status: migrate.SchemaStatus, where: str) -> Finding:
    try:
        migrate.refuse_extension(status, where)
    except DatabaseError as exc:
        return Finding("extension", "fault", str(exc), "docs/managed-services.md says which services offer it")
    if status.pgvector is None and status.revision is None:
        told = f"pgvector is not in this database yet; the server offers {status.pgvector_offered}"
        return Finding("extension", "warning", told, "sona-pg db upgrade, or an engine, makes it")
    if status.pgvector is None:
        return Finding(
            "extension", "fault", "pgvector is not installed in this database", "sona-pg db upgrade installs it"
        )
    return Finding("extension", "ok", f"pgvector {status.pgvector}")


def _schema(status: migrate.SchemaStatus) -> Finding:
    if status.revision is None:
        return Finding(
            "schema", "warning", "there is no store in this database yet: is it the right one?",
            "sona-pg db upgrade makes it, and so does the first engine",
        )  # fmt: skip
    if status.serves and not status.current:
        return Finding(
            "schema", "warning", f"revision {status.revision} is of a later release of sona-pg, which still serves "
            f"this one ({status.head})", "go on with the upgrade: this machine has the earlier release",
        )  # fmt: skip
    try:
        migrate.refuse_newer(status)
        migrate.refuse_older(status)
    except SonaError as exc:
        return Finding("schema", "fault", str(exc), "run sona-pg db upgrade with the newest release of the fleet")
    return Finding("schema", "ok", f"revision {status.revision}")


def _leftovers(raw: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Report stores that a restore has left under another name."""
    if one(raw, LEFT, name=migrate.ASIDE):
        yield Finding(
            "restore", "fault", f"a restore was ended midway: the store of before is in the schema {migrate.ASIDE}",
            f"ALTER SCHEMA {migrate.ASIDE} RENAME TO sona puts it back; if there is a schema sona, rename or drop that "
            "one first",
        )  # fmt: skip
    if one(raw, LEFT, name=REPLACED):
        yield Finding(
            "restore", "warning", f"the store that a restore has replaced is still there, as schema {REPLACED}",
            f"DROP SCHEMA {REPLACED} CASCADE, as its owner",
        )  # fmt: skip


def _server(raw: psycopg.Connection[Any]) -> Iterator[Finding]:
    if one(raw, "SELECT pg_is_in_recovery()"):
        yield Finding(
            "settings", "fault", "this server is a standby: it takes no writes",
            "name the primary, for instance with target_session_attrs=read-write in the URL",
        )  # fmt: skip
    fine = True
    for name, is_well, status, advice in SETTINGS:
        value = str(one(raw, "SELECT current_setting(%(name)s)", name=name))
        if not is_well(value):
            fine = False
            yield Finding("settings", "fault" if status == "fault" else "warning", f"{name} = {value}", advice)
    for name in TIMES:
        seconds = int(one(raw, "SELECT setting::bigint FROM pg_settings WHERE name = %(name)s", name=name)) / 1000
        if 0 < seconds < 10:
            fine = False
            yield Finding(
                "settings", "warning", f"{name} = {seconds:g} s",
                "searches and index builds of large spaces take longer: give the role 10 s or more",
            )  # fmt: skip
    if fine:
        yield Finding("settings", "ok", "durable, writable, vacuumed, no short timeouts")
    used, most = raw.execute(CONNECTIONS).fetchone() or (0, 0)
    if used > SHARE_OF_CONNECTIONS * most:
        yield Finding(
            "connections", "warning", f"{used} of {most} are in use",
            "each process takes at most 8: raise max_connections, or put PgBouncer before the server",
        )  # fmt: skip
    else:
        yield Finding("connections", "ok", f"{used} of {most} in use")


def _distribution(raw: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Report on the nodes of a distributed store; nothing of one that is not."""
    topology = read_topology(raw)
    if topology is None or not topology.distributed:
        return
    left = set(HASHED_TABLES + REFERENCE_TABLES) - topology.tables - topology.copied
    silent = raw.execute(SILENT_NODES).fetchall()
    if left:
        yield Finding(
            "distribution", "fault", f"tables that are not distributed: {len(left)}, such as {min(left)}",
            "run sona-pg distribute again: it goes on where it was ended",
        )  # fmt: skip
    for (node,) in silent:
        yield Finding(
            "distribution", "fault", f"node {node} does not answer: its spaces are neither read nor written",
            "start it again; records wait in the servers until then",
        )  # fmt: skip
    if not left and not silent:
        yield Finding("distribution", "ok", describe(topology) or "")


def _closed_tables(raw: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Report on tables that row-level security closes to every login but the owner's: an installation was ended."""
    closed = [name for (name,) in raw.execute(CLOSED).fetchall()]
    if closed:
        yield Finding(
            "logins", "fault", f"tables that no login of a space can read: {len(closed)}, such as {closed[0]}",
            "run sona-pg roles install again: it goes on where it was ended",
        )  # fmt: skip


def _clock(raw: psycopg.Connection[Any]) -> Finding:
    before, start = datetime.now(UTC), time.perf_counter()
    there: datetime = one(raw, "SELECT clock_timestamp()")
    middle = before.timestamp() + (time.perf_counter() - start) / 2
    skew = middle - there.timestamp()
    if abs(skew) > MOST_SKEW:
        return Finding(
            "clocks", "warning", f"this machine's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} "
            "the database's", "synchronise both by NTP; ids of trajectories carry this machine's time",
        )  # fmt: skip
    return Finding("clocks", "ok", f"this machine and the database agree within {max(abs(skew), 0.001):.3f} s")


def _notices(url: str, raw: psycopg.Connection[Any]) -> Finding:
    listening, own = open_session(driver_arguments(url), "sona-pg doctor")
    with listening:
        if own:  # else a LISTEN would stay on a session that a pooler lends to others
            listening.execute("LISTEN sona_doctor")
            start = time.perf_counter()
            raw.execute("NOTIFY sona_doctor")
            for _ in listening.notifies(timeout=LISTEN_FOR, stop_after=1):
                took = 1000 * (time.perf_counter() - start)
                return Finding("pooler", "ok", f"notices arrive, after {took:.0f} ms")
    return Finding(
        "pooler", "warning", "notices do not arrive: a pooler in transaction mode stands in between",
        "servers hear of versions by polling alone (loops.poll_interval); pool by session, or shorten the interval",
    )  # fmt: skip
