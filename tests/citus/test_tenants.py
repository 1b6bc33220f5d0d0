"""Row-level security on a distributed store: kept while it is distributed, on workers, and of shards that are moved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

import numpy as np
import psycopg
import pytest
from fix_citus import SHARDS, Cluster, with_name
from fix_tenants import DIM, OTHER, OWN, QUIET, SECRET, Tenants, drop_roles, fill
from psycopg import sql
from sqlalchemy import make_url

from sona_pg import SonaEngine
from sona_pg.store.admin import health, roles
from sona_pg.store.admin.distribution import distribute

pytestmark = pytest.mark.citus

# Also shards, which Citus hides from lists of tables unless it is told not to.
RELATIONS = """
SELECT c.relname::text FROM pg_class c
WHERE c.relnamespace = 'sona'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'schema_revision' ORDER BY 1
"""
POLICIES = "SELECT count(DISTINCT tablename) FROM pg_policies WHERE schemaname = 'sona'"
NODE_OF = """
SELECT n.nodename, p.shardid FROM pg_dist_placement p JOIN pg_dist_node n USING (groupid)
WHERE p.shardid = get_shard_id_for_distribution_column('sona.spaces', %s)
"""


@pytest.fixture
def prefix(empty_database_url: str) -> Iterator[str]:
    """A beginning for the names of a test's roles, which are dropped after it."""
    name = re.sub(r"\W", "", empty_database_url.rpartition("/")[2])
    yield name
    drop_roles(empty_database_url, name)


def nodes_of(url: str) -> list[str]:
    """The URLs of the coordinator and of each worker."""
    name = make_url(url).database
    assert name is not None
    return [with_name(node, name) for node in Cluster.of(url).urls]


def seen_at(node: str, login: str, password: str) -> set[tuple[int, ...]]:
    """Return the numbers of the spaces in all that a login can read on a node, by any name."""
    found: set[tuple[int, ...]] = set()
    with psycopg.connect(node, autocommit=True) as owner:
        owner.execute("SET citus.override_table_visibility = off")
        names = [name for (name,) in owner.execute(RELATIONS).fetchall()]
    url = make_url(node).set(username=login, password=password).render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        for name in names:
            table = sql.Identifier("sona", name)
            try:
                rows = connection.execute(sql.SQL("SELECT DISTINCT space_id FROM {}").format(table)).fetchall()
                words = connection.execute(sql.SQL("SELECT t::text FROM {} t").format(table)).fetchall()
            except psycopg.errors.InsufficientPrivilege:
                continue
            assert [word for (word,) in words if SECRET in word] == [], name
            found.update(rows)
    return found


def test_a_guarded_store_stays_guarded_on_every_node_and_shard(empty_database_url: str, prefix: str) -> None:
    url = empty_database_url
    fill(url, OWN, "acme-own")
    fill(url, OTHER, SECRET)
    roles.install(url, prefix)
    tenants = Tenants(url, prefix)
    tenants.grant("app", "learner", OWN)
    login = f"{prefix}_app"
    password = tenants.passwords[login]

    list(islice(distribute(url, shards=SHARDS), 20))  # ended half-way: what has no policy yet is closed
    assert seen_at(url, login, password) <= {(1,)}
    assert [found.status for found in health.examine(url) if found.check == "logins"] == ["fault"]
    for _ in distribute(url, shards=SHARDS):
        pass
    with psycopg.connect(url) as owner:
        assert owner.execute(POLICIES).fetchone() == owner.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'sona'::regnamespace AND relkind IN ('r', 'p') "
            "AND NOT relispartition AND relname <> 'schema_revision'"
        ).fetchone()  # fmt: skip
    assert [seen_at(node, login, password) - {(1,)} for node in nodes_of(url)] == [set()] * 3
    assert seen_at(url, login, password) == {(1,)}

    with psycopg.connect(url, autocommit=True) as owner:
        for space in (1, 2):
            before = owner.execute(NODE_OF, [space]).fetchone()
            assert before is not None
            (target,) = owner.execute(
                "SELECT nodename FROM pg_dist_node WHERE shouldhaveshards AND nodename <> %s", [before[0]]
            ).fetchone()  # type: ignore[misc]
            owner.execute(
                "SELECT citus_move_shard_placement(%s, %s, 5432, %s, 5432, 'block_writes')",
                [before[1], before[0], target],
            )
    assert [seen_at(node, login, password) - {(1,)} for node in nodes_of(url)] == [set()] * 3
    app = make_url(url).set(username=login, password=password).render_as_string(hide_password=False)
    with SonaEngine(DIM, app, OWN, config=QUIET, migrate="check") as engine:
        trajectory = engine.begin_trajectory(np.ones(DIM, np.float32))
        engine.end_trajectory(trajectory, 0.5)
        engine.flush()
        assert engine.force_learn().trajectories == 1


def test_a_login_writes_into_no_shard_of_another_space(empty_database_url: str, prefix: str) -> None:
    url = empty_database_url
    for name in (OWN, OTHER):
        SonaEngine(DIM, url, name, config=QUIET).close()
    for _ in distribute(url, shards=SHARDS):
        pass
    roles.install(url, prefix)
    tenants = Tenants(url, prefix)
    tenants.grant("app", "admin", OWN)
    login = f"{prefix}_app"
    with psycopg.connect(url) as owner:
        node, shard = owner.execute(NODE_OF.replace("sona.spaces", "sona.candidates"), [2]).fetchone()  # type: ignore[misc]
    there = make_url(url).set(host=node, username=login, password=tenants.passwords[login])
    with psycopg.connect(there.render_as_string(hide_password=False), autocommit=True) as connection:
        for table in ("sona.candidates", f"sona.candidates_{shard}"):
            insert = f"INSERT INTO {table} (space_id, candidate_id, recorded_at) VALUES (2, 'mine', now())"
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="violates row-level security"):
                connection.execute(insert.encode())
            delete = f"DELETE FROM {table} WHERE space_id = 2"
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(delete.encode())
        for statement in (
            "SELECT run_command_on_all_nodes('ALTER ROLE CURRENT_USER BYPASSRLS')",
            "SELECT run_command_on_shards('sona.candidates', 'ALTER TABLE %s DISABLE ROW LEVEL SECURITY')",
            "SELECT citus_move_shard_placement(1, 'a', 1, 'b', 1)",
            f"SELECT lock_shard_metadata(5, ARRAY[{shard}])",
            "SELECT create_distributed_function('sona.last_space_seen()')",
            "CREATE OR REPLACE FUNCTION sona.last_space_seen() RETURNS int LANGUAGE sql AS 'SELECT 9'",
        ):
            try:
                told = str(connection.execute(statement.encode()).fetchall())
            except psycopg.Error as exc:
                told = str(exc)
            assert "permission denied" in told or "must be owner" in told or "not allowed" in told or ",f," in told, (
                told
            )
    with psycopg.connect(url) as owner:
        assert owner.execute("SELECT rolbypassrls FROM pg_roles WHERE rolname = %s", [login]).fetchone() == (False,)
        assert owner.execute("SELECT count(*) FROM sona.candidates").fetchone() == (0,)
