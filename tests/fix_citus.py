"""Databases on Citus: the coordinator that `SONA_PG_CITUS_URL` names, with its workers (docker/citus-cluster.sh).

A database of Citus consists of one database on each node. Those of a test are copies of a distributed store: each node
copies its own part.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import ObjectInUse
from sqlalchemy import make_url

from sona_pg.store.admin.distribution import distribute
from sona_pg.store.admin.migrate import upgrade

CITUS_URL = os.environ.get("SONA_PG_CITUS_URL")
SHARDS = 4  # of a test's tables: each is a table of Postgres for every partition
NUMBERS = itertools.count(1)

# Files whose tests run on Citus as well, where it is named.
ALSO_ON_CITUS = frozenset(
    {
        "tests/engine/test_retired_candidates.py",
        "tests/hostile/test_crossing.py",
        "tests/ingest/test_feedback.py",
        "tests/ingest/test_rows.py",
        "tests/store/test_acts.py",
        "tests/store/test_check.py",
        "tests/store/test_figures.py",
        "tests/store/test_graph_rows.py",
        "tests/store/test_learning_gaps.py",
        "tests/store/test_like_questions.py",
        "tests/store/test_maintenance.py",
        "tests/store/test_retention.py",
        "tests/store/test_search.py",
        "tests/store/test_seasons_in_sql.py",
        "tests/store/test_space_retention.py",
        "tests/store/test_space_roles.py",
        "tests/store/test_spaces.py",
        "tests/store/test_sql_functions.py",
        "tests/store/test_versions.py",
        "tests/transfer/test_imported_ids.py",
        "tests/worker/test_deep_loop.py",
        "tests/worker/test_erasing.py",
        "tests/worker/test_erasing_answers.py",
        "tests/worker/test_explaining.py",
        "tests/worker/test_gate.py",
        "tests/worker/test_isolation.py",
        "tests/worker/test_learner.py",
        "tests/worker/test_lease_races.py",
        "tests/worker/test_rebuild.py",
        "tests/worker/test_reembedding.py",
        "tests/worker/test_taken_back.py",
    }
)


def runs_on_citus(definition: pytest.Item) -> bool:
    """Whether a test that runs elsewhere runs on Citus as well."""
    chosen = definition.nodeid.partition("::")[0] in ALSO_ON_CITUS
    return chosen and definition.get_closest_marker("not_on_citus") is None


@dataclass(frozen=True)
class Cluster:
    """A coordinator and its workers, as a role that may create databases reaches them."""

    url: str
    workers: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, url: str) -> Cluster:
        with psycopg.connect(url) as connection:
            rows = connection.execute(
                "SELECT nodename, nodeport FROM pg_dist_node WHERE noderole = 'primary' AND groupid > 0 ORDER BY 1, 2"
            ).fetchall()
        return cls(url, tuple((name, port) for name, port in rows))

    @property
    def urls(self) -> tuple[str, ...]:
        """The coordinator's, then each worker's."""
        given = make_url(self.url)
        others = (given.set(host=host, port=port) for host, port in self.workers)
        return (self.url, *(other.render_as_string(hide_password=False) for other in others))


def with_name(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def node_at(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that creates and drops databases of one node; a new one each time: a test may kill the node."""
    with psycopg.connect(url, autocommit=True) as node:
        node.execute("SET citus.enable_create_database_propagation = off")
        yield node


@contextmanager
def database_on(cluster: Cluster, template: str | None) -> Iterator[str]:
    """A database on every node, a copy of ``template`` or joined to an empty cluster; dropped at the end."""
    name = f"test_{os.getpid()}_c{next(NUMBERS)}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")

    def make(url: str) -> None:
        with node_at(url) as node:
            node.execute(create.format(sql.Identifier(name), sql.Identifier(template or "template0")))

    def drop(url: str) -> None:
        with node_at(url) as node:
            _drop(node, name)

    with ThreadPoolExecutor(len(cluster.urls)) as nodes:
        list(nodes.map(make, cluster.urls))
        try:
            if template is None:
                _join(cluster, name)
            yield name
        finally:
            list(nodes.map(drop, cluster.urls))


def distribute_template(cluster: Cluster, name: str) -> None:
    """Migrate and distribute the store in database ``name``, and close it, so that it can be copied."""
    url = with_name(cluster.url, name)
    upgrade(url)
    for _ in distribute(url, shards=SHARDS):
        pass
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM sona.acts")  # as elsewhere, where none is recorded of the template
    for each in cluster.urls:
        with node_at(each) as node:
            _close(node, name)


def _close(node: psycopg.Connection[Any], name: str) -> None:
    """End every session of database ``name`` on a node, also those of Citus, and let none begin."""
    node.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
    deadline = time.monotonic() + 60
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    while node.execute(end, [name]).fetchall():
        assert time.monotonic() < deadline, f"sessions of {name} do not end"
        time.sleep(0.02)


def _join(cluster: Cluster, name: str) -> None:
    given = make_url(cluster.url)
    for url in cluster.urls:
        with psycopg.connect(with_name(url, name), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS citus")
    with psycopg.connect(with_name(cluster.url, name), autocommit=True) as connection:
        connection.execute("SELECT citus_set_coordinator_host(%s, %s)", [given.host, given.port or 5432])
        for host, port in cluster.workers:
            connection.execute("SELECT citus_add_node(%s, %s)", [host, port])


def _drop(node: psycopg.Connection[Any], name: str) -> None:
    """Citus's own sessions come and go: a drop that meets one is repeated."""
    for attempt in itertools.count(1):
        try:
            node.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            return
        except ObjectInUse:
            if attempt == 50:
                raise
            time.sleep(0.05)
