"""Tables of a store that somebody keeps locked: reading them would wait for as long as the lock is held."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import errors, sql

from sona_pg.domain.finding import Finding

WAIT = 3000  # milliseconds for which a lock is waited for

EXCLUSIVE = """
SELECT c.relname::text, l.pid, a.xact_start, a.usename::text, a.application_name
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND c.relnamespace = to_regnamespace('sona') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND l.mode = 'AccessExclusiveLock' AND l.granted AND l.pid <> pg_backend_pid()
ORDER BY a.xact_start, c.relname
"""


def held_locks(raw: psycopg.Connection[Any]) -> Finding | None:
    """Report the first table that cannot be read because of a lock, and who holds it."""
    for table, pid, since, user, name in raw.execute(EXCLUSIVE).fetchall():
        if not _is_readable(raw, table):
            began = "" if since is None else f" in a transaction since {since:%Y-%m-%d %H:%M:%S %Z}"
            return Finding(
                "locks", "fault", f"sona.{table} is locked by pid {pid} ({name or user or 'another role'}){began}: "
                "reading and writing wait for it", f"end that session, or SELECT pg_terminate_backend({pid})",
            )  # fmt: skip
    return None


def _is_readable(raw: psycopg.Connection[Any], table: str) -> bool:
    try:
        with raw.transaction():
            raw.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(WAIT)))
            raw.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.Identifier("sona", table)))
    except errors.LockNotAvailable:
        return False
    return True
