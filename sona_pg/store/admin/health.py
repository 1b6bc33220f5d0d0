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
from sona_pg.store.admin.spreading import HASHED_TABLES, REFERENCE_TABLES
from sona_pg.store.connect import driver_arguments, masked, parse_url, translated
from sona_pg.store.sessions import open_session
from sona_pg.store.topology import describe, read_topology
from sona_pg.store.worker_sessions import connected_workers

MOST_SKEW = 1.0  # seconds between two clocks; timestamps in logs and lags of servers are off by as much
LISTEN_FOR = 2.0  # seconds to wait for a notice to oneself
SHARE_OF_CONNECTIONS = 0.8  # in use, at most
BEHIND = 60.0  # seconds for which a live server may serve an old version
LONG_WAITING = 2.0  # intervals of learning that facts may wait

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
FLEET = """
SELECT space, host, pid, versions_behind, dropped, skew_ms, extract(epoch FROM now() - started_at) FROM sona.fleet
WHERE state IN ('live', 'silent')
"""
STALE = """
SELECT f.space, f.host, f.pid, f.versions_behind FROM sona.fleet f
JOIN sona.spaces s ON s.name = f.space
JOIN sona.state_versions v ON v.space_id = s.space_id AND v.version = s.live_version
WHERE f.state = 'live' AND f.versions_behind > 0 AND v.created_at < %(before)s AND f.started_at < %(before)s
"""
CONFLICTING = """
SELECT s.name, sum(v.conflicting)::bigint FROM sona.servers v JOIN sona.spaces s USING (space_id)
WHERE v.conflicting > 0 AND v.ended_at IS NULL GROUP BY s.name ORDER BY 2 DESC
"""
LEARNING = """
SELECT l.space, l.waiting_facts, extract(epoch FROM now() - l.waiting_since), l.failed_cycles, l.last_error,
       coalesce((s.settings ->> 'loops.background_interval')::float, 3600),
       coalesce((s.settings ->> 'loops.min_trajectories')::int, 100)
FROM sona.learning l JOIN sona.spaces s ON s.space_id = l.space_id
"""
WAITED = """
SELECT space, waited_from, waited_until, extract(epoch FROM waited)::float8, failed_cycles FROM sona.learning_gaps
WHERE waited_until > now() - interval '7 days' ORDER BY waited DESC LIMIT 1
"""
ASIDE = """
SELECT s.name, count(*) FROM sona.set_aside a JOIN sona.spaces s USING (space_id) GROUP BY s.name ORDER BY 2 DESC
"""
UNFINISHED = """
SELECT s.name, count(*) FROM sona.erasures e JOIN sona.spaces s USING (space_id)
WHERE e.phase = 'removed' AND e.requested_at < now() - interval '10 minutes' GROUP BY s.name ORDER BY 2 DESC
"""
PARTITIONED = """
SELECT to_regclass(format('sona.trajectories_w%%s', to_char(date_trunc('week', %(at)s::timestamptz), 'YYYYMMDD')))
"""
CLOSED = """
SELECT c.relname::text FROM pg_class c
WHERE c.relnamespace = to_regnamespace('sona') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relrowsecurity AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)
ORDER BY 1
"""
SILENT_NODES = "SELECT from_nodename || ':' || from_nodeport FROM citus_check_cluster_node_health() WHERE NOT result"
LEFT = "SELECT to_regnamespace(%(name)s) IS NOT NULL"
SIZE = "SELECT pg_database_size(current_database())"


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
                yield from _space_checks(raw)
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
    if _one(raw, LEFT, name=migrate.ASIDE):
        yield Finding(
            "restore", "fault", f"a restore was ended midway: the store of before is in the schema {migrate.ASIDE}",
            f"ALTER SCHEMA {migrate.ASIDE} RENAME TO sona puts it back; if there is a schema sona, rename or drop that "
            "one first",
        )  # fmt: skip
    if _one(raw, LEFT, name=REPLACED):
        yield Finding(
            "restore", "warning", f"the store that a restore has replaced is still there, as schema {REPLACED}",
            f"DROP SCHEMA {REPLACED} CASCADE, as its owner",
        )  # fmt: skip


def _server(raw: psycopg.Connection[Any]) -> Iterator[Finding]:
    if _one(raw, "SELECT pg_is_in_recovery()"):
        yield Finding(
            "settings", "fault", "this server is a standby: it takes no writes",
            "name the primary, for instance with target_session_attrs=read-write in the URL",
        )  # fmt: skip
    fine = True
    for name, is_well, status, advice in SETTINGS:
        value = str(_one(raw, "SELECT current_setting(%(name)s)", name=name))
        if not is_well(value):
            fine = False
            yield Finding("settings", "fault" if status == "fault" else "warning", f"{name} = {value}", advice)
    for name in TIMES:
        seconds = int(_one(raw, "SELECT setting::bigint FROM pg_settings WHERE name = %(name)s", name=name)) / 1000
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
    there: datetime = _one(raw, "SELECT clock_timestamp()")
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


def _space_checks(raw: psycopg.Connection[Any]) -> Iterator[Finding]:
    yield from _fleet(raw)
    yield _workers(raw)
    yield from _learning(raw)
    aside = raw.execute(ASIDE).fetchall()
    if aside:
        yield Finding(
            "set aside", "warning", f"trajectories that could not be learned from: {_listed(aside)}",
            "sona-pg set-aside list says why, sona-pg set-aside retry gives them back",
        )  # fmt: skip
    conflicting = raw.execute(CONFLICTING).fetchall()
    if conflicting:
        yield Finding(
            "ids", "warning", "trajectories recorded again under a stored id with other contents, not stored: "
            + _listed(conflicting), "give each interaction an id of its own; the servers' logs name ids",
        )  # fmt: skip
    unfinished = raw.execute(UNFINISHED).fetchall()
    if unfinished:
        yield Finding(
            "erasures", "fault", f"rows are removed, and what they have taught is still served: {_listed(unfinished)}",
            "sona-pg forget --space NAME --finish",
        )  # fmt: skip
    if _one(raw, PARTITIONED, at=datetime.now(UTC)) is None and _one(raw, "SELECT count(*) FROM sona.spaces"):
        yield Finding(
            "maintenance", "warning", "this week has no partition: its rows go into the default one",
            "run sona-pg maintain, or a worker or engine with maintenance on",
        )  # fmt: skip
    yield Finding("size", "ok", f"the database takes {int(_one(raw, SIZE)) / 2**20:,.0f} MB")


def _fleet(raw: psycopg.Connection[Any]) -> Iterator[Finding]:
    servers = raw.execute(FLEET).fetchall()
    before = datetime.fromtimestamp(_one(raw, "SELECT clock_timestamp()").timestamp() - BEHIND, UTC)
    stale = raw.execute(STALE, {"before": before}).fetchall()
    skewed = [row for row in servers if row[5] is not None and abs(row[5]) > 1000 * MOST_SKEW]
    dropping = [row for row in servers if row[4]]
    if stale:
        yield Finding(
            "lag", "fault", "servers do not follow the live version: "
            + _listed([(f"{host}:{pid} in {space}", f"{behind} behind") for space, host, pid, behind in stale]),
            "see their logs; a version in an unknown format needs a newer release there",
        )  # fmt: skip
    if dropping:
        yield Finding(
            "lag", "warning", "servers have dropped records: "
            + _listed([(f"{host}:{pid} in {space}", dropped) for space, host, pid, _, dropped, *_ in dropping]),
            "their buffers were full: see whether the database keeps up, or use durability 'spool'",
        )  # fmt: skip
    if skewed:
        yield Finding(
            "clocks", "warning", "clocks of servers are off: "
            + _listed([(f"{host}:{pid}", f"{skew / 1000:+.1f} s") for _, host, pid, _, _, skew, _ in skewed]),
            "synchronise them by NTP",
        )  # fmt: skip
    if not stale and not dropping:
        yield Finding("lag", "ok", f"live servers: {len(servers)}, none behind for more than {BEHIND:g} s")


def _workers(raw: psycopg.Connection[Any]) -> Finding:
    workers = connected_workers(raw)
    told = _listed(
        [
            (
                one.worker,
                f"since {one.connected_since:%Y-%m-%d %H:%M}" if one.connected_since else "since when is hidden",
            )
            for one in workers
        ]
    )
    without = "none is connected: servers learn in the spaces that they have open, but those with --no-learn do not"
    return Finding("workers", "ok", f"{len(workers)} connected: {told}" if workers else without)


def _learning(raw: psycopg.Connection[Any]) -> Iterator[Finding]:
    rows = raw.execute(LEARNING).fetchall()
    failing = [(space, error) for space, _, _, failed, error, _, _ in rows if failed]
    stuck = [
        (space, f"{facts} facts for {float(waited) / 3600:.1f} h")
        for space, facts, waited, failed, _, interval, least in rows
        if not failed and facts >= least and waited is not None and float(waited) > LONG_WAITING * interval
    ]
    if failing:
        yield Finding(
            "learning", "fault", f"cycles fail in {_listed(failing)}",
            "sona-pg cycles --space NAME has every attempt; the next ones set poisoned trajectories aside",
        )  # fmt: skip
    if stuck:
        yield Finding(
            "learning", "fault", f"nobody learns: {_listed(stuck)}",
            "run sona-pg worker, or open an engine with LoopConfig(automatic=True)",
        )  # fmt: skip
    if not failing and not stuck:
        waiting = sum(int(row[1]) for row in rows)
        yield Finding("learning", "ok", f"spaces: {len(rows)}, facts that wait for their next cycle: {waiting}")
    waited = raw.execute(WAITED).fetchone()
    if waited is not None:
        space, start, end, seconds, failed = waited
        told = f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min"
        yield Finding(
            "waits", "ok", f"the longest wait of facts that ended in the last 7 days: {told} in {space}, from "
            f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M %Z}, with {failed} failed cycles (all: sona.learning_gaps)",
        )  # fmt: skip


def _listed(named: Sequence[Sequence[Any]]) -> str:
    """Return the first three of named values, and the number of the others."""
    told = "; ".join(f"{row[0]}: {row[1]}" for row in named[:3])
    return told + (f" and {len(named) - 3} more" if len(named) > 3 else "")


def _one(raw: psycopg.Connection[Any], query: str, **values: object) -> Any:
    row = raw.execute(query, values or None).fetchone()
    return None if row is None else row[0]
