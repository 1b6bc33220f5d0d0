"""Logins that see one space: what the catalog says of them, what they can do, and how they are granted."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from fix_tenants import DIM, OTHER, OWN, QUIET, Tenants, drop_roles, url_of
from psycopg import sql

from sona_pg import SonaEngine
from sona_pg.domain.login import CAPABILITIES
from sona_pg.errors import ConfigError, DatabaseError, InvalidValue, UnknownSpace
from sona_pg.store.admin import health, logins, migrate, roles, row_security
from sona_pg.store.admin.privileges import OF_SERVERS, UNREADABLE, WRITES
from sona_pg.store.database import Database
from sona_pg.store.schema import metadata

TABLES = """
SELECT c.relname, c.relispartition, c.relrowsecurity, count(p.polname) FROM pg_class c
LEFT JOIN pg_policy p ON p.polrelid = c.oid
WHERE c.relnamespace = 'sona'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'schema_revision'
GROUP BY c.oid
"""
GRANTED = """
SELECT c.relname FROM pg_class c, aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
WHERE c.relnamespace = 'sona'::regnamespace AND starts_with(r.rolname, %s)
"""


@pytest.fixture
def prefix(database_url: str) -> Iterator[str]:
    """A beginning for the names of a test's roles, which are dropped after it."""
    name = re.sub(r"\W", "", database_url.rpartition("/")[2].partition("?")[0])
    yield name
    drop_roles(database_url, name)


def answers(url: str, query: str, *values: object) -> list[tuple]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode(), values or None).fetchall()


def test_every_table_has_a_policy_and_every_partition_is_closed(tenants: Tenants) -> None:
    found = answers(tenants.url, TABLES)
    parents = {name for name, is_partition, *_ in found if not is_partition}
    assert parents == {table.name for table in metadata.tables.values()}
    assert [name for name, _, guarded, _ in found if not guarded] == []
    assert {(is_partition, policies) for _, is_partition, _, policies in found} == {(False, 1), (True, 0)}


def test_nothing_is_granted_on_partitions_or_to_everybody(tenants: Tenants) -> None:
    granted = {name for (name,) in answers(tenants.url, GRANTED, tenants.prefix)}
    partitions = {name for name, is_partition, *_ in answers(tenants.url, TABLES) if is_partition}
    assert len(granted) > 60
    assert not granted & (partitions | UNREADABLE)
    assert answers(
        tenants.url,
        "SELECT relname FROM pg_class c, aclexplode(c.relacl) a "
        "WHERE a.grantee = 0 AND c.relnamespace = 'sona'::regnamespace",
    ) == []  # fmt: skip


def test_views_ask_with_the_rights_of_their_reader_and_functions_with_those_of_their_caller(tenants: Tenants) -> None:
    views = answers(
        tenants.url,
        "SELECT relname FROM pg_class WHERE relnamespace = 'sona'::regnamespace AND relkind IN ('v', 'm') "
        "AND NOT coalesce('security_invoker=true' = ANY (reloptions), false)",
    )
    functions = answers(
        tenants.url,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'sona'::regnamespace "
        "AND (prosecdef OR proleakproof OR prosrc ~ 'space_names')",  # those find a space by spaces_by_name
    )
    assert (views, functions) == ([], [])


def test_the_privileges_name_tables_that_exist_and_forget_none(tenants: Tenants) -> None:
    named = {table for writes in WRITES.values() for tables in writes.values() for table in tables}
    only_read = {"sealed_weeks", "space_roles"}
    assert named | UNREADABLE | OF_SERVERS | only_read == {table.name for table in metadata.tables.values()}


def test_partitions_made_later_are_closed_as_well(tenants: Tenants) -> None:
    with psycopg.connect(tenants.url) as owner:
        owner.execute("SELECT sona.ensure_dimension(24), sona.ensure_partitions('2031-01-01', 1)")
        found = owner.execute(TABLES.encode()).fetchall()
        secret = owner.execute(
            "SELECT attstattarget FROM pg_attribute WHERE attname = 'query' "
            "AND attrelid = 'sona.trajectories_w20301230'::regclass"
        ).fetchone()
        owner.rollback()
    made = {name: guarded for name, _, guarded, _ in found if name.endswith(("_d24", "_w20301230"))}
    assert made == dict.fromkeys(
        ("patterns_d24", "memory_nodes_d24", "trajectories_w20301230", "steps_w20301230", "feedback_w20301230"), True
    )
    assert secret == (0,)


@pytest.mark.parametrize("by_hand", [False, True])
def test_statistics_from_before_are_dropped(
    database_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    with SonaEngine(DIM, database_url, OWN, config=QUIET) as engine:
        for quality in (0.2, 0.9):
            engine.end_trajectory(engine.begin_trajectory(np.ones(DIM), query=f"a secret of {quality}"), quality)
        engine.flush()
    secrets = "SELECT count(*) FROM pg_stats WHERE schemaname = 'sona' AND attname = 'query'"
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("ANALYZE")
        assert owner.execute(secrets).fetchone() != (0,)
        if by_hand:  # as before Postgres 18
            monkeypatch.setattr(row_security, "FIRST_TO_CLEAR", 10**9)
        roles.install(database_url, prefix)
        assert owner.execute(secrets).fetchone() == (0,)
        owner.execute("ANALYZE")
        assert owner.execute(secrets).fetchone() == (0,)


def test_a_learner_of_one_space_records_learns_serves_and_searches_there(database_url: str, prefix: str) -> None:
    for name in (OWN, OTHER):
        SonaEngine(DIM, database_url, name, config=QUIET).close()
    roles.install(database_url, prefix)
    store = Tenants(database_url, prefix)
    url = store.grant("app", "learner", OWN)
    rows = np.random.default_rng(0).standard_normal((20, DIM))
    with SonaEngine(DIM, url, OWN, config=QUIET, migrate="check") as engine:
        engine.remember(["a", "b"], rows[:2])
        for x in rows:
            trajectory = engine.begin_trajectory(x, ranking=engine.rank(x, rows[:2], ids=["a", "b"]))
            engine.add_step(trajectory, x, None, 1.0)
            engine.set_trajectory_route(trajectory, "a")
            engine.end_trajectory(trajectory, 0.9)
            engine.feedback(trajectory.id, 1.0)
        engine.feedback(trajectory.id, 0.5, sequence=7)  # goes the way of facts that may be stored already
        engine.flush()
        assert engine.force_learn().trajectories == len(rows)
        assert engine.refresh() == 1
        assert engine.find_patterns(rows[0])
        assert len(engine.search(rows[0], k=3)) == 3
        engine.deep_learn()
        engine.rollback(0)
    assert answers(url, "SELECT DISTINCT space FROM sona.outcomes") == [(OWN,)]
    assert answers(database_url, "SELECT count(*) FROM sona.feedback") == [(len(rows) + 1,)]


def test_a_login_hears_nothing_of_spaces_that_it_does_not_see(tenants: Tenants) -> None:
    told = set()
    for name in (OTHER, "nonesuch"):
        with pytest.raises(UnknownSpace, match="this login sees no space") as caught:
            SonaEngine(DIM, tenants.as_login("learner"), name, config=QUIET, migrate="check")
        told.add(str(caught.value).replace(name, "…"))
    assert len(told) == 1
    database = Database.at(tenants.as_login("reader"))
    try:
        assert [space.name for space in database.list_spaces()] == [OWN]
        with pytest.raises(UnknownSpace, match=rf"there are: '{OWN}'$"):
            database.find_space(OTHER)
    finally:
        database.close()


def test_a_login_that_may_not_is_refused_by_postgres(tenants: Tenants) -> None:
    with SonaEngine(DIM, tenants.as_login("recorder"), OWN, config=QUIET, migrate="check") as engine:
        with pytest.raises(DatabaseError, match="42501"):
            engine.force_learn()
        with pytest.raises(DatabaseError, match="42501"):
            engine.set_budget(1.0)
    with psycopg.connect(tenants.as_login("reader")) as reader:
        for hidden in sorted(OF_SERVERS | UNREADABLE):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier("sona", hidden)))
            reader.rollback()


def test_a_login_of_every_space_sees_all_and_a_revoked_one_nothing(database_url: str, prefix: str) -> None:
    for name in (OWN, OTHER):
        SonaEngine(DIM, database_url, name, config=QUIET).close()
    roles.install(database_url, prefix)
    store = Tenants(database_url, prefix)
    seen = "SELECT name FROM sona.spaces ORDER BY name"
    everywhere = store.grant("fleet", "recorder", None)
    assert answers(everywhere, seen) == [(OWN,), (OTHER,)]
    here = store.grant("here", "reader", OWN)
    assert answers(here, seen) == [(OWN,)]
    with psycopg.connect(database_url) as owner:  # by hand: two spaces of one login are none
        owner.execute(logins.ADD, [2, f"{prefix}_here"])
    assert answers(here, seen) == []
    assert [login.space for login in logins.listing(database_url)] == [None, OWN, OTHER]
    assert logins.revoke(database_url, f"{prefix}_here")
    assert not logins.revoke(database_url, f"{prefix}_here")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        answers(here, seen)
    store.grant("here", "recorder", OTHER)
    assert answers(here, seen) == [(OTHER,)]
    with pytest.raises(InvalidValue, match="one login for each space"):
        store.grant("here", "recorder", OWN)
    with SonaEngine(DIM, here, OTHER, config=QUIET, migrate="check"):
        database = Database.at(database_url)
        database.remove_space(OTHER)
        database.close()
    assert answers(here, seen) == []


def test_logins_from_before_go_on_seeing_every_space(database_url: str, prefix: str) -> None:
    SonaEngine(DIM, database_url, OWN, config=QUIET).close()
    login = f"{prefix}_before"
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'of-the-test'").format(sql.Identifier(login)))
        owner.execute(sql.SQL("GRANT USAGE ON SCHEMA sona TO {}").format(sql.Identifier(login)))
        owner.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA sona TO {}").format(sql.Identifier(login)))
    done = roles.install(database_url, prefix)
    assert done.kept == (login,)
    assert done.made_groups == tuple(f"{prefix}_{capability}" for capability in CAPABILITIES)
    assert answers(url_of(database_url, login, "of-the-test"), "SELECT name FROM sona.spaces") == [(OWN,)]
    again = roles.install(database_url, prefix)
    assert (again.made_groups, again.guarded, again.kept) == ((), 0, ())
    with pytest.raises(ConfigError, match=f"--prefix {prefix}"):
        roles.install(database_url, "other")


def test_rights_are_granted_by_the_owner_to_logins_alone(tenants: Tenants) -> None:
    with pytest.raises(ConfigError, match="granted by the schema's owner"):
        logins.grant(tenants.as_login("admin"), f"{tenants.prefix}_new", "reader", OWN)
    with pytest.raises(ConfigError, match="sees every space whatever"):
        logins.grant(tenants.url, answers(tenants.url, "SELECT current_user::text")[0][0], "reader", OWN)
    with pytest.raises(ConfigError, match="is a group"):
        logins.grant(tenants.url, f"{tenants.prefix}_reader", "reader", OWN)
    with pytest.raises(DatabaseError, match="no space 'nonesuch'"):
        logins.grant(tenants.url, f"{tenants.prefix}_new", "reader", "nonesuch")
    with pytest.raises(InvalidValue, match="1 to 63 bytes"):
        logins.grant(tenants.url, "x" * 64, "reader", OWN)


def test_the_doctor_names_a_table_that_has_no_policy_yet(database_url: str) -> None:
    with psycopg.connect(database_url) as owner:
        owner.execute("ALTER TABLE sona.acts ENABLE ROW LEVEL SECURITY")
    found = [found for found in health.examine(database_url) if found.check == "logins"]
    assert [(each.status, "1, such as acts" in each.found) for each in found] == [("fault", True)]


def test_a_store_without_row_level_security_says_what_to_run(database_url: str) -> None:
    with pytest.raises(ConfigError, match="sona-pg roles install"):
        logins.grant(database_url, "anybody", "reader", "default")
    assert logins.listing(database_url) == []
    assert roles.renew(database_url) is None


@pytest.mark.not_on_citus("the schema of a distributed store goes forward only")
def test_the_revision_goes_down_and_up_again_on_a_guarded_store(database_url: str, prefix: str) -> None:
    SonaEngine(DIM, database_url, OWN, config=QUIET).close()
    roles.install(database_url, prefix)
    migrate.downgrade(database_url, "0039")
    assert answers(database_url, "SELECT count(*) FROM pg_policies WHERE schemaname = 'sona'") == [(0,)]
    assert answers(database_url, "SELECT sona.require_space('acme')") == [(1,)]
    migrate.upgrade(database_url)
    assert roles.install(database_url, prefix).guarded > 50
    url = Tenants(database_url, prefix).grant("new", "reader", OWN)
    assert answers(url, "SELECT sona.require_space('acme')") == [(1,)]
