"""A store of two spaces under row-level security: logins of the first try to reach the second."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import psycopg
import pytest
from fix_databases import Databases, with_database
from fix_servers import Server
from psycopg import sql
from sqlalchemy import make_url

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.config import MaintenanceConfig
from sona_pg.domain.login import CAPABILITIES
from sona_pg.store.admin import logins, roles
from sona_pg.store.database import Database

DIM = 8
QUIET = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))
SECRET = "globex-secret"  # in each text of the second space
OWN, OTHER = "acme", "globex"
GROUPS = ("reader", "recorder", "learner", "admin")
# Rows that an engine makes only after weeks, on a failure, or when asked over HTTP.
FILL = f"""
INSERT INTO sona.set_aside (space_id, trajectory_id, cycle_id, reason)
    SELECT space_id, id, gen_random_uuid(), '{SECRET}' FROM sona.trajectories WHERE space_id = %(space)s LIMIT 1;
INSERT INTO sona.sealed_weeks (space_id, first_id, end_id, trajectories, indexed, sealed_at)
    VALUES (%(space)s, sona.uuid_floor('2026-01-05'), sona.uuid_floor('2026-01-12'), 1, 1, now());
INSERT INTO sona.shared_trajectories (space_id, trajectory_id, part, call, content, recorded_at)
    VALUES (%(space)s, gen_random_uuid(), 1, 'begin', '{{"query": "{SECRET}"}}', now());
INSERT INTO sona.idempotent_requests (space_id, key, fingerprint, recorded_at)
    VALUES (%(space)s, '{SECRET}', decode(repeat('00', 32), 'hex'), now());
INSERT INTO sona.telemetry_ids (space_id, key, trajectory_id, recorded_at)
    VALUES (%(space)s, decode(repeat('00', 16), 'hex'), gen_random_uuid(), now());
INSERT INTO sona.imported_ids (space_id, trajectory_id, imported_id) VALUES (%(space)s, gen_random_uuid(), '{SECRET}');
INSERT INTO sona.erasures (space_id, erasure_id, kind, hashes, until_id, first_version, phase, requested_at, removed)
    VALUES (%(space)s, gen_random_uuid(), 'user', decode(repeat('00', 32), 'hex'), gen_random_uuid(), 1, 'removed',
            now(), '{{"note": "{SECRET}"}}');
INSERT INTO sona.api_keys (space_id, key_id, name, hash, scopes, created_at)
    VALUES (%(space)s, gen_random_uuid(), '{SECRET}', decode(repeat('00', 32), 'hex'), '{{read}}', now());
INSERT INTO sona.fisher_snapshots (space_id, task, layer, version, created_at, fisher, optimum)
    VALUES (%(space)s, 1, 0, 1, now(), decode(repeat('00', 8), 'hex'), decode(repeat('00', 8), 'hex'));
INSERT INTO sona.version_tasks (space_id, task, layer, version, created_at, kind, fisher, optimum)
    SELECT space_id, task, layer, version, created_at, kind, fisher, optimum FROM sona.fisher_snapshots
    WHERE space_id = %(space)s;
INSERT INTO sona.pattern_names (space_id, pattern_id, name, named_by, named_at)
    VALUES (%(space)s, gen_random_uuid(), '{SECRET}', 'tests', now());
INSERT INTO sona.staged_versions (space_id, version, server_id, batches, cycle, started_at)
    VALUES (%(space)s, 1, gen_random_uuid(), '{{}}', '{{"note": "{SECRET}"}}', now());
"""


@dataclass
class Tenants:
    """A guarded store, and a login of each capability in its first space."""

    url: str  # of the owner
    prefix: str
    passwords: dict[str, str] = field(default_factory=dict)

    def login(self, capability: str) -> str:
        return f"{self.prefix}_{OWN}_{capability}"

    def as_login(self, capability: str) -> str:
        """The store's URL for the login of the first space with this capability."""
        return url_of(self.url, self.login(capability), self.passwords[self.login(capability)])

    def grant(self, login: str, capability: str, space: str | None) -> str:
        """Grant rights to a login of this store, and return its URL."""
        name = f"{self.prefix}_{login}"
        known = next(known for known in CAPABILITIES if known == capability)
        made = logins.grant(self.url, name, known, space)
        if made.password:
            self.passwords[name] = made.password
        return url_of(self.url, name, self.passwords[name])


def url_of(url: str, login: str, password: str) -> str:
    return make_url(url).set(username=login, password=password).render_as_string(hide_password=False)


def fill(url: str, name: str, secret: str) -> None:
    """Make a space whose texts all contain ``secret``, with learned state and a memory graph."""
    rng = np.random.default_rng(len(name))
    with SonaEngine(DIM, url, name, config=QUIET) as engine:
        engine.set_budget(1.0, "day")
        engine.remember([f"{secret}-{i}" for i in range(4)], rng.standard_normal((4, DIM)), group=f"{secret}-group")
        engine.keep_contents({f"{secret}-0": {"text": secret}})
        for i in range(60):
            x = np.eye(DIM)[i % 4] + 0.1 * rng.standard_normal(DIM)
            decision = engine.route(x, [f"{secret}-small", f"{secret}-large"])
            trajectory = engine.begin_trajectory(x, query=f"{secret} {i}", decision=decision)
            engine.add_trajectory_context(trajectory, f"session:{secret}-{i // 6}")
            engine.add_step(trajectory, x, None, 1.0)
            engine.add_trajectory_context(trajectory, f"user:{secret}")
            engine.end_trajectory(trajectory, 0.9 if i % 2 else 0.2)
            if i % 5 == 0:
                engine.feedback(trajectory, 1.0, correction=f"{secret}-0", source=f"{secret}-user")
        engine.force_learn()
        engine.refresh()
        engine.deep_learn()
        engine.set_settings({"loops.growth": 0.2})


@contextmanager
def guarded_store(url: str, prefix: str) -> Iterator[Tenants]:
    """Fill two spaces at ``url``, turn row-level security on, and make the logins; drop the roles at the end."""
    tenants = Tenants(url, prefix)
    try:
        fill(url, OWN, "acme-own")
        fill(url, OTHER, SECRET)
        database = Database.open(url)
        database.sum_up()
        database.close()
        with psycopg.connect(url) as owner:
            for (number,) in owner.execute("SELECT space_id FROM sona.spaces").fetchall():
                words = FILL if number == 2 else FILL.replace(SECRET, "acme-own")
                for statement in words.split(";\n")[:-1]:
                    owner.execute(statement.encode(), {"space": number})
        roles.install(url, prefix)
        for capability in GROUPS:
            tenants.grant(f"{OWN}_{capability}", capability, OWN)
        tenants.grant(f"{OTHER}_recorder", "recorder", OTHER)
        yield tenants
    finally:
        drop_roles(url, prefix)


def drop_roles(url: str, prefix: str) -> None:
    """Drop the logins and groups that begin with ``prefix``; roles belong to the server, not to a database."""
    with psycopg.connect(url, autocommit=True) as owner:
        found = owner.execute("SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", [f"{prefix}_"]).fetchall()
        for (name,) in found:
            owner.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
        for (name,) in found:
            owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def tenants(postgres_server: Server, databases: Databases, template: str) -> Iterator[Tenants]:
    """A guarded store that the tests of a module share; none of them changes it."""
    with (
        databases(template) as name,
        guarded_store(with_database(postgres_server.url, name), f"t{os.getpid()}_{name[-6:]}") as store,
    ):
        yield store
