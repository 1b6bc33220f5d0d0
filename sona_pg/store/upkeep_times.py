"""When maintenance and a dump ended last, in ``sona.schema_revision``: every role reads it, the owner writes it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg import sql

Upkeep = Literal["maintained", "dumped"]

# Not a standby, not a role that only reads, not a schema of an earlier release.
MAY_NOTE = """
SELECT NOT pg_is_in_recovery() AND has_table_privilege('sona.schema_revision', 'UPDATE') AND EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = 'sona.schema_revision'::regclass AND attname = %(column)s)
"""
NOTE = sql.SQL("UPDATE sona.schema_revision SET {} = coalesce(%(at)s, clock_timestamp())")
READ = "SELECT maintained_at, dumped_at FROM sona.schema_revision"


def note(raw: psycopg.Connection[Any], done: Upkeep, at: datetime | None = None) -> None:
    """Note that a run has ended well, now or then, if this role may."""
    column = f"{done}_at"
    if raw.execute(MAY_NOTE, {"column": column}).fetchone() == (True,):
        raw.execute(NOTE.format(sql.Identifier(column)), {"at": at})


def read(raw: psycopg.Connection[Any]) -> dict[str, datetime]:
    """Return when each ended last; one that never did is missing."""
    maintained, dumped = raw.execute(READ).fetchone() or (None, None)
    return {done: at for done, at in (("maintained", maintained), ("dumped", dumped)) if at is not None}
