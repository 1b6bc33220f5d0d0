"""A whole space as one file: the rows of every table that carries its number, by binary COPY, in a zip archive.

The archive holds data of one schema revision and no SQL, so another version of Postgres reads it. It leaves out what
belongs to the servers of the store it comes from: leases, heartbeats (their counters are kept), API keys.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Engine, Table

from sona_pg._version import __version__
from sona_pg.domain.space import Space
from sona_pg.errors import SchemaError, SpaceExists, StorageError
from sona_pg.store import acts, fleet, spaces
from sona_pg.store.admin import migrate
from sona_pg.store.connect import driver_connection
from sona_pg.store.leases import now
from sona_pg.store.schema import metadata
from sona_pg.store.schema import spaces as space_rows
from sona_pg.store.transactions import snapshot, transaction
from sona_pg.store.whole_file import whole_file

FORMAT = 1
MANIFEST = "manifest.json"
CHUNK = 1 << 20  # bytes
# Not of the space alone: names and numbers are given anew, the others belong to servers, keys to whoever holds them.
LEFT_OUT = {
    "space_names", "servers", "leases", "shared_trajectories", "api_keys", "idempotent_requests", "sealed_weeks",
    "space_roles", "acts",
}  # fmt: skip
NOT_COPIED = {"spaces": {"name", "predecessor"}}  # columns
COUNTERS = ("trajectories", "feedback", "dropped")
# What zipfile raises where a file is damaged; NotImplementedError is of a compression that it does not know.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError)

Progress = Callable[[int, int], None]  # tables done, tables in all

COPY_OUT = sql.SQL("COPY (SELECT {columns} FROM {table} WHERE space_id = {space}) TO STDOUT (FORMAT BINARY)")
INCOMING = sql.SQL("CREATE TEMP TABLE incoming ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA")
COPY_IN = sql.SQL("COPY incoming ({columns}) FROM STDIN (FORMAT BINARY)")
INSERT = sql.SQL("INSERT INTO {table} (space_id, {columns}) SELECT {space}, {columns} FROM incoming")
UPDATE = sql.SQL("UPDATE {table} SET ({columns}) = (SELECT {columns} FROM incoming) WHERE space_id = {space}")
EMPTY = sql.SQL("DELETE FROM {table} WHERE space_id = {space}")
DEPARTED = sql.SQL(
    "UPDATE sona.spaces SET departed_trajectories = %(trajectories)s, departed_feedback = %(feedback)s,"
    " departed_dropped = %(dropped)s WHERE space_id = %(space)s"
)

# Of the present budget, by all servers: their rows are left out. Departed ones' spending is in the space's row.
SPENT = """
SELECT s.budget_set_at::text, sum(v.budget_spent), sum(v.budget_requests)::bigint, days.last::text,
       coalesce(sum(v.budget_day_spent) FILTER (WHERE v.budget_day = days.last), 0),
       coalesce(sum(v.budget_day_requests) FILTER (WHERE v.budget_day = days.last), 0)::bigint
FROM sona.spaces s
JOIN sona.servers v ON v.space_id = s.space_id AND v.budget_set_at = s.budget_set_at
CROSS JOIN LATERAL (
    SELECT max(o.budget_day) AS last FROM sona.servers o
    WHERE o.space_id = s.space_id AND o.budget_set_at = s.budget_set_at
) AS days
WHERE s.space_id = %(space)s
GROUP BY s.budget_set_at, days.last
"""
SPENDING = ("set_at", "spent", "requests", "day", "day_spent", "day_requests")
# As one server that has ended, which carries the day's spending.
SPEND = """
INSERT INTO sona.servers (space_id, server_id, host, pid, release, started_at, seen_at, ended_at, serving_version,
    budget_set_at, budget_spent, budget_requests, budget_day, budget_day_spent, budget_day_requests)
VALUES (%(space)s, gen_random_uuid(), 'archive', 0, %(release)s, %(at)s, %(at)s, %(at)s, 0,
    %(set_at)s, %(spent)s, %(requests)s, %(day)s, %(day_spent)s, %(day_requests)s)
"""


def write_archive(engine: Engine, space: Space, path: Path, progress: Progress = lambda done, total: None) -> int:
    """Write a space to ``path``, as it is at one moment; return the number of rows. The file appears when it is whole.

    Raises:
        StorageError: the file cannot be written.
        DatabaseError: Postgres is away or refuses.
    """
    try:
        with whole_file(path) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            manifest = _write_tables(engine, space, archive, progress)
            archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
    except OSError as exc:
        raise StorageError(f"{path} cannot be written: {exc.strerror or exc}") from exc
    return sum(table["rows"] for table in manifest["tables"].values())


def read_archive(
    engine: Engine, path: Path, name: str | None = None, progress: Progress = lambda done, total: None
) -> tuple[Space, int]:
    """Make the space in the archive ``path``, called ``name`` if one is given; return it with its number of rows.

    One transaction: whatever fails, nothing is left.

    Raises:
        StorageError: the file is no archive of a space, is cut short or damaged.
        SpaceExists: there is a space of that name.
        SchemaError: the archive is of a newer release.
        DatabaseError: Postgres is away or refuses.
    """
    with _opened(path) as archive:
        manifest = _manifest_of(archive, path)
        wanted = name or str(manifest["space"])
        known = {table.name: table for table in _tables()}
        with transaction(engine, f"restoring space {wanted!r}") as connection:
            if spaces.find_space(connection, wanted) is not None:
                raise SpaceExists(f"there is a space {wanted!r} already: give the restored one another name")
            space = spaces.open_space(connection, wanted, int(manifest["dim"]), now(connection))
            raw = driver_connection(connection)
            told: Mapping[str, Any] = manifest["tables"]
            for done, (table_name, part) in enumerate(told.items()):
                progress(done, len(told))
                if table_name not in known or not set(part["columns"]) <= set(known[table_name].columns.keys()):
                    raise SchemaError(f"{path} has a table or column that this release does not know: {table_name}")
                with _table_in(archive, table_name, path) as rows:
                    _read_table(raw, table_name, space.space_id, part, rows, path)
            raw.execute(DEPARTED, {**manifest["counters"], "space": space.space_id})
            if manifest.get("spending"):
                at = {"space": space.space_id, "release": manifest["release"], "at": now(connection)}
                raw.execute(SPEND, {**manifest["spending"], **at})
            acts.note(raw, space.space_id, "space unarchived", {"file": path.name})
            progress(len(told), len(told))
    return space, sum(part["rows"] for part in told.values())


def _tables() -> Iterator[Table]:
    """Yield the tables of an archive, referenced ones first."""
    for table in metadata.sorted_tables:
        if table.name not in LEFT_OUT:
            yield table


def _write_tables(engine: Engine, space: Space, archive: zipfile.ZipFile, progress: Progress) -> dict[str, Any]:
    tables = list(_tables())
    parts: dict[str, Any] = {}
    with snapshot(engine, f"archiving space {space.name!r}") as connection:
        status = migrate.read_status(connection)
        migrate.refuse_older(status)
        raw = driver_connection(connection)
        for done, table in enumerate(tables):
            progress(done, len(tables))
            left_out = {"space_id", *NOT_COPIED.get(table.name, ())}
            columns = [name for name in table.columns.keys() if name not in left_out]  # noqa: SIM118
            with archive.open(table.name, "w", force_zip64=True) as file:
                parts[table.name] = {"columns": columns, **_copy_out(raw, table.name, columns, space.space_id, file)}
        progress(len(tables), len(tables))
        return {
            "format": FORMAT,
            "release": __version__,
            "revision": status.revision,
            "postgres": status.postgres,
            "space": space.name,
            "dim": space.dim,
            "counters": _counters(connection, space),
            "spending": _spending(raw, space),
            "tables": parts,
        }


def _counters(connection: Connection, space: Space) -> dict[str, int]:
    """Return the counters of all servers ever: the heartbeats that they come from are left out."""
    totals = fleet.totals(connection, space.space_id) or {}
    return {name: totals.get(name, 0) for name in COUNTERS}


def _spending(raw: psycopg.Connection[Any], space: Space) -> dict[str, Any] | None:
    """Return what the servers have spent of the present budget; None if there is none, or nothing was spent."""
    row = raw.execute(SPENT, {"space": space.space_id}).fetchone()
    return None if row is None else dict(zip(SPENDING, row, strict=True))


def _copy_out(
    raw: psycopg.Connection[Any], table: str, columns: list[str], space_id: int, file: IO[bytes]
) -> dict[str, Any]:
    digest = hashlib.sha256()
    query = COPY_OUT.format(columns=_named(columns), table=_table(table), space=sql.Literal(space_id))
    with raw.cursor() as cursor:
        with cursor.copy(query) as copy:
            for block in copy:
                digest.update(block)
                file.write(block)
        return {"rows": max(cursor.rowcount, 0), "sha256": digest.hexdigest()}


def _read_table(
    raw: psycopg.Connection[Any], table: str, space_id: int, part: Mapping[str, Any], rows: IO[bytes], path: Path
) -> None:
    columns = _named(part["columns"])
    values = {"table": _table(table), "columns": columns, "space": sql.Literal(space_id)}
    digest = hashlib.sha256()
    raw.execute(INCOMING.format(**values))
    with raw.cursor() as cursor, cursor.copy(COPY_IN.format(columns=columns)) as copy:
        while block := _block(rows, path):
            digest.update(block)
            copy.write(block)
    if table == space_rows.name:
        raw.execute(UPDATE.format(**values))
    else:
        raw.execute(EMPTY.format(**values))  # rows that opening a space makes
        found = raw.execute(INSERT.format(**values)).rowcount
        if found != part["rows"]:
            raise StorageError(
                f"{path}: table {table} has {found} rows, its manifest says {part['rows']}: it is damaged"
            )
    if digest.hexdigest() != part["sha256"]:
        raise StorageError(f"{path}: table {table} has other content than its manifest says: it is damaged")
    raw.execute("DROP TABLE incoming")


def _table_in(archive: zipfile.ZipFile, name: str, path: Path) -> IO[bytes]:
    try:
        return archive.open(name)
    except (KeyError, *DAMAGE) as exc:
        raise StorageError(f"{path} is damaged: {exc}") from exc


def _block(rows: IO[bytes], path: Path) -> bytes:
    try:
        return rows.read(CHUNK)
    except DAMAGE as exc:
        raise StorageError(f"{path} is damaged: {exc}") from exc


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except OSError as exc:
        raise StorageError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except zipfile.BadZipFile as exc:
        raise StorageError(f"{path} is no archive of a space, or was cut short: {exc}") from exc
    with archive:
        yield archive


def _manifest_of(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(archive.read(MANIFEST))
        if manifest["format"] > FORMAT:
            raise SchemaError(f"{path} is of format {manifest['format']}, this release knows {FORMAT}: upgrade sona-pg")
    except (KeyError, *DAMAGE) as exc:
        raise StorageError(f"{path} is no archive of a space: {exc}") from exc
    migrate.refuse_newer(migrate.SchemaStatus("", 0, None, None, manifest["revision"], manifest["revision"]))
    return manifest


def _named(columns: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _table(name: str) -> sql.Identifier:
    return sql.Identifier("sona", name)
