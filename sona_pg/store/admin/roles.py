"""Group roles and row-level security by space: ``sona-pg roles install``.

Row-level security never applies to the schema's owner. Any other role sees the space that ``sona.space_roles`` names
for it, and none if that names none (``row_security.py``).
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from typing import Any

import psycopg
from psycopg import sql
from psycopg.errors import DeadlockDetected, LockNotAvailable

from sona_pg.domain.act import WHOLE_STORE
from sona_pg.domain.login import CAPABILITIES, Guarded
from sona_pg.errors import ConfigError, DatabaseError, DatabaseUnavailable
from sona_pg.store import acts
from sona_pg.store.admin.privileges import OF_ADMINS, OF_SERVERS, UNREADABLE, WRITES
from sona_pg.store.admin.row_security import (
    PARTITION,
    end_statistics_of_shards,
    forget_statistics,
    make_bounds,
    policy,
    secrets_of,
    without_statistics,
)
from sona_pg.store.connect import CONNECT_TIMEOUT, driver_arguments, parse_url, read_times, translated
from sona_pg.store.topology import read_topology

EVERY_SPACE = 0  # in sona.space_roles
PAUSES = (*[0.05] * 4, *[0.2] * 5, *[1.0] * 10)  # seconds between attempts to lock a table
BRIEF = "SET LOCAL lock_timeout = '900ms'"  # recorders queue behind a request for an exclusive lock
_random = random.SystemRandom()  # never the application's `random`

TABLES = """
SELECT c.relname::text, c.relispartition, c.relrowsecurity,
       EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid),
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attstattarget = 0)
FROM pg_class c
WHERE c.relnamespace = 'sona'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'schema_revision'
ORDER BY c.relispartition, c.relname
"""
VIEWS = (
    "SELECT relname::text FROM pg_class WHERE relnamespace = 'sona'::regnamespace AND relkind = 'v' ORDER BY relname"
)
GROUPS = """
SELECT r.rolname::text FROM pg_class c, aclexplode(c.relacl) AS a JOIN pg_roles r ON r.oid = a.grantee
WHERE c.oid = to_regclass('sona.space_roles') AND a.privilege_type = 'SELECT' AND NOT r.rolcanlogin
  AND r.rolname LIKE '%\\_reader' AND NOT has_table_privilege(r.oid, 'sona.space_names', 'SELECT')
"""
OWNER = """
SELECT pg_get_userbyid(nspowner)::text, pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'sona'
"""
# Logins with privileges of their own on the tables, from before row-level security: they keep what they see.
HAVE_RIGHTS = """
SELECT r.rolname::text FROM pg_roles r
WHERE r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolbypassrls
  AND NOT pg_has_role(r.oid, (SELECT nspowner FROM pg_namespace WHERE nspname = 'sona'), 'USAGE')
  AND (has_table_privilege(r.oid, 'sona.trajectories', 'SELECT')
       OR has_any_column_privilege(r.oid, 'sona.spaces', 'SELECT'))
ORDER BY r.rolname
"""
ROLE = """
SELECT rolcanlogin, rolsuper OR rolbypassrls OR pg_has_role(
    oid, (SELECT nspowner FROM pg_namespace WHERE nspname = 'sona'), 'USAGE')
FROM pg_roles WHERE rolname = %s
"""
ADD = """
INSERT INTO sona.space_roles (space_id, role_name, granted_at) VALUES (%s, %s, statement_timestamp())
ON CONFLICT DO NOTHING
"""
MEMBERSHIPS = """
SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
WHERE r.rolname = %s AND g.rolname = ANY (%s)
"""


def install(url: str, prefix: str = "sona") -> Guarded:
    """Make the group roles, grant them their privileges, and turn row-level security on; again after each upgrade.

    Logins with privileges from before go on seeing every space.

    Raises:
        ConfigError: the role of ``url`` is not the schema's owner, or a group's name belongs to a login.
        DatabaseUnavailable: a long transaction kept a table; what was done stays, call again.
        DatabaseError: Postgres is away or refuses, such as a role without CREATEROLE.
    """
    with translated("turning row-level security on", parse_url(url)), owning(url) as raw:
        known = installed_prefix(raw)
        if known not in (None, prefix):
            raise ConfigError(f"the group roles of this store begin with {known!r}: install with --prefix {known}")
        kept = _keep_rights(raw) if known is None else ()
        made = _make_groups(raw, prefix)
        guarded = _guard(raw)  # before anything is granted: it may end half-way
        with raw.transaction():
            _grant_all(raw, prefix)
            if made or guarded:
                acts.note(raw, WHOLE_STORE, "roles installed", {"prefix": prefix, "tables": guarded, "kept": kept})
        return Guarded(prefix, made, guarded, kept)


def renew(url: str) -> Guarded | None:
    """Guard and grant the tables of an upgrade, where row-level security was installed; else return None."""
    with translated("renewing the rights of roles", parse_url(url)), connected(url) as raw:
        prefix = installed_prefix(raw)
    return None if prefix is None else install(url, prefix)


def installed_prefix(raw: psycopg.Connection[Any]) -> str | None:
    """Return the beginning of the group roles' names; None where row-level security is not installed."""
    row = raw.execute(GROUPS).fetchone()
    return None if row is None else str(row[0]).removesuffix("_reader")


# -- installation -------------------------------------------------------------------------------------------


def _keep_rights(raw: psycopg.Connection[Any]) -> tuple[str, ...]:
    names = [name for (name,) in raw.execute(HAVE_RIGHTS).fetchall()]
    for name in names:
        raw.execute(ADD, [EVERY_SPACE, name])
    return tuple(names)


def _make_groups(raw: psycopg.Connection[Any], prefix: str) -> tuple[str, ...]:
    made = []
    for capability in CAPABILITIES:
        name = group_of(prefix, capability)
        row = raw.execute(ROLE, [name]).fetchone()
        if row is None:
            raw.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
            made.append(name)
        elif row[0] or row[1]:
            raise ConfigError(
                f"role {name} is a login, or sees every space: it cannot be a group; choose another --prefix"
            )
    return tuple(made)


def _grant_all(raw: psycopg.Connection[Any], prefix: str) -> None:
    """Grant each group what it needs, and nothing on partitions."""
    names = {capability: sql.Identifier(group_of(prefix, capability)) for capability in CAPABILITIES}
    tables = raw.execute(TABLES).fetchall()
    parents = [name for name, is_partition, *_ in tables if not is_partition]
    partitions = [name for name, is_partition, *_ in tables if is_partition]
    everybody = sql.SQL(", ").join(names.values())
    if partitions:
        raw.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(_tables(partitions), everybody))
    raw.execute(sql.SQL("GRANT USAGE ON SCHEMA sona TO {}").format(everybody))
    hidden = UNREADABLE | OF_SERVERS | OF_ADMINS
    views = [name for (name,) in raw.execute(VIEWS).fetchall()]
    read = [name for name in parents if name not in hidden]
    raw.execute(
        sql.SQL("GRANT SELECT ON {} TO {}").format(_tables([*read, *views, "schema_revision"]), names["reader"])
    )
    for lesser, greater in pairwise(CAPABILITIES):
        if raw.execute(MEMBERSHIPS, [group_of(prefix, greater), [group_of(prefix, lesser)]]).fetchone() is None:
            raw.execute(sql.SQL("GRANT {} TO {}").format(names[lesser], names[greater]))
    for capability, writes in WRITES.items():
        for privileges, of in writes.items():
            statement = sql.SQL("GRANT {} ON {} TO {}")
            raw.execute(statement.format(sql.SQL(privileges), _tables(of), names[capability]))


def _guard(raw: psycopg.Connection[Any]) -> int:
    """Turn row-level security on for every table and partition; return the number of those without it so far.

    Partitions get no policy: only their owner reads them by their own names.
    """
    guarded = 0
    topology = read_topology(raw)
    spread = topology.spread if topology is not None else frozenset()
    if spread:
        make_bounds(raw)
    for name, is_partition, is_guarded, has_policy, silent in raw.execute(TABLES).fetchall():
        over_nodes = PARTITION.sub("", name) in spread
        wanted = []
        if not is_partition and not has_policy:
            wanted.append(policy(name, over_nodes))
        if not is_guarded:
            wanted.append(sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(sql.Identifier("sona", name)))
            guarded += 1
        told = [column for column in secrets_of(name) if column not in silent]
        if not over_nodes:
            wanted += [without_statistics(name, column) for column in told]
        if wanted:
            _patiently(raw, name, wanted)
        if over_nodes and told:
            end_statistics_of_shards(raw, name)
    with raw.transaction():
        raw.execute("ALTER INDEX sona.spaces_by_name ALTER COLUMN 1 SET STATISTICS 0")
    forget_statistics(raw)
    return guarded


def _patiently(raw: psycopg.Connection[Any], name: str, wanted: list[sql.Composed]) -> None:
    """Execute statements that need an exclusive lock, in one transaction that gives up early and is tried again."""
    for pause in [*PAUSES, None]:
        try:
            with raw.transaction():
                raw.execute(BRIEF)
                for statement in wanted:
                    raw.execute(statement)
                return
        except (LockNotAvailable, DeadlockDetected) as exc:
            if pause is None:
                raise DatabaseUnavailable(
                    f"sona.{name} has no row-level security yet: a long transaction keeps the table; end it "
                    "(pg_stat_activity), then run sona-pg roles install again"
                ) from exc
            time.sleep(pause * _random.uniform(0.5, 1.0))


def group_of(prefix: str, capability: str) -> str:
    """Return the name of a group role."""
    return f"{prefix}_{capability}"


def _tables(names: Iterator[str] | list[str] | tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier("sona", name) for name in names)


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Connect, in autocommit mode."""
    common = {"autocommit": True, "connect_timeout": CONNECT_TIMEOUT, "prepare_threshold": None}
    raw = psycopg.connect(**{**driver_arguments(url), **common, "application_name": "sona-pg roles"})
    with closing(raw):
        read_times(raw)
        yield raw


@contextmanager
def owning(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Connect as the schema's owner, or a superuser; ConfigError for any other login."""
    with connected(url) as raw:
        row = raw.execute(OWNER).fetchone()
        if row is None:
            raise DatabaseError("there is no store in this database: run sona-pg db upgrade first")
        if not row[1]:
            raise ConfigError(f"roles are granted by the schema's owner, {row[0]}, or by a superuser")
        yield raw
