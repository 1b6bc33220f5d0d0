"""Every view and every function of SQL answers on a distributed store as it did before it was distributed."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import psycopg
import pytest
from fix_citus import SHARDS

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.config import MaintenanceConfig, PatternConfig
from sona_pg.domain.ids import uuid7
from sona_pg.store.admin.distribution import distribute
from sona_pg.store.admin.sql_reference import SqlObject, read_objects
from sona_pg.store.database import Database

pytestmark = pytest.mark.citus

DIM = 3  # of the vectors in the examples
SPACES = ("support", "sales")
CONFIG = SonaConfig(
    loops=LoopConfig(automatic=False),
    maintenance=MaintenanceConfig(automatic=False),
    patterns=PatternConfig(clusters=3),
)
DAYS = 28
ROUTES = ("small", "large", "expert")
FILL = """
INSERT INTO sona.imported_ids (space_id, trajectory_id, imported_id)
    SELECT space_id, id, 'T-' || 1000 + row_number() OVER (ORDER BY id) FROM sona.trajectories
    WHERE space_id = %(space)s;
INSERT INTO sona.feedback (space_id, trajectory_id, source, sequence, batch, recorded_at, quality)
    SELECT %(space)s, sona.uuid_floor(now()), 'lost', 1, max(batch), now(), 0.5 FROM sona.batches
    WHERE space_id = %(space)s;
INSERT INTO sona.cycles (space_id, cycle_id, server_id, loop, base_version, version, started_at, finished_at,
        trajectories, feedback, set_aside, patterns, error)
    SELECT space_id, gen_random_uuid(), server_id, loop, base_version, 0, now(), now(), 0, 0, 0, patterns, 'it failed'
    FROM sona.cycles WHERE space_id = %(space)s AND version = 1
"""
# What examples do not ask of a space of a few weeks.
MORE = {
    "change_parts": "SELECT * FROM sona.change_parts('support', current_date - 9)",
    "cycle_facts": "SELECT * FROM sona.cycle_facts('support', (SELECT cycle_id FROM sona.cycles "
    "WHERE space_id = sona.require_space('support') AND version = 1))",
    "quality_changes": "SELECT * FROM sona.quality_changes('support', 30)",
    "route_changes": "SELECT * FROM sona.route_changes('support', 30)",
}
# Of the time at which they are asked.
OF_NOW = {"age", "waited", "as_of", "pace", "share_of_day", "used_up_at"}
FADING = {"weight", "strength", "times", "confidence", "usual"}
FADED = {"neighborhood", "neighbors", "next_patterns"}
RECORDING = {"mark_batch", "record_feedback", "record_trajectory"}  # numbers of what the call records
SIZES = "SELECT sum(bytes) FROM sona.store_size WHERE table_name = 'daily_figures'"


def fill(url: str, space: str, each: int) -> None:
    """Record ``each`` calls on every day in a space, and learn them: two versions, a deep one, an erased user."""
    drawn, rng = random.Random(space), np.random.default_rng(len(space))
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS - 1)
    with SonaEngine(DIM, url, space, config=CONFIG) as engine:
        engine.set_budget(1000.0, "day")
        engine.remember(list(ROUTES), np.eye(DIM))
        for day in range(DAYS):
            for row in range(each):
                topic = drawn.randrange(3)
                x = np.eye(DIM)[topic] + 0.05 * rng.standard_normal(DIM)
                decision = engine.route(x, list(ROUTES[: 2 + day % 2]))
                good = 0.4 + 0.2 * (decision.route == ROUTES[topic]) + 0.3 * (day > 18)
                at = start + timedelta(days=day, seconds=20 + row)
                t = engine.begin_trajectory(
                    x, query=f"about {topic}", decision=decision, id=uuid7(int(at.timestamp() * 1000))
                )
                for label in (f"user:{row % 7}", f"session:{day}-{row // 4}", "beta" if row % 3 else "plan:free"):
                    engine.add_trajectory_context(t, label)
                engine.add_step(t, x, None, 0.5)
                engine.set_trajectory_parameters(t, {"temperature": drawn.randrange(5) / 10})
                engine.end_trajectory(t, float(drawn.random() < good), cost=drawn.randrange(100) / 1000)
                if row % 4 == 0:
                    engine.feedback(t, float(drawn.random() < good), source=drawn.choice(["user", "audit"]))
            if day % 14 == 13:
                engine.force_learn()
                engine.refresh()
        engine.deep_learn()
        engine.name_topic(engine.find_patterns(np.eye(DIM)[0], 1)[0].id, "First questions")
        if space == "sales":
            engine.forget(user="6")  # takes the versions before it


def answers(url: str) -> dict[str, list[str]]:
    """Return the rows of each view, of all spaces and of one, and those of each function's example in each space."""
    found: dict[str, list[str]] = {}
    with psycopg.connect(url) as connection:
        numbers: dict[str, int] = dict(connection.execute("SELECT name, space_id FROM sona.spaces").fetchall())
        for known in read_objects(connection):
            if known.kind == "view":
                every = f"SELECT * FROM sona.{known.name}"
                for asked in (every, f"{every} WHERE space_id = sona.require_space('sales')", known.example):
                    found[asked] = _rows(connection, asked, known)
            elif known.kind == "function":
                for query in filter(None, (known.example, MORE.get(known.name))):
                    for space in SPACES:
                        asked = query.replace("'support'", f"'{space}'")
                        asked = asked.replace("space_id = 1", f"space_id = {numbers[space]}")
                        found[asked] = _rows(connection, asked, known)
    return found


def _rows(connection: psycopg.Connection, query: str, known: SqlObject) -> list[str]:
    """Return the rows of a statement as sorted texts, an error as its text; undo what it writes."""
    try:
        cursor = connection.execute(query.encode())
        names = [column.name for column in cursor.description or ()]
        rows = cursor.fetchall()
    except psycopg.Error as exc:
        return [str(exc).splitlines()[0]]  # the rest says where
    finally:
        connection.rollback()
    if known.name in RECORDING or "bytes)" in query:
        return [f"{len(rows)} rows"]
    left_out = (
        OF_NOW | (FADING if known.name in FADED else set()) | ({"bytes"} if known.name == "store_size" else set())
    )
    return sorted(
        str([_told(value) for name, value in zip(names, row, strict=True) if name not in left_out]) for row in rows
    )


def _told(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float | Decimal) else value


def test_sql_answers_as_before_it_was_distributed(empty_database_url: str) -> None:
    url = empty_database_url
    for space in SPACES:
        fill(url, space, 10)
    database = Database.open(url)
    database.sum_up()
    database.close()
    with psycopg.connect(url) as connection:
        for space_id in (1, 2):
            for statement in FILL.split(";\n"):
                connection.execute(statement.encode(), {"space": space_id})
        connection.commit()
        ((size,),) = connection.execute(SIZES).fetchall()
    before = answers(url)
    assert [asked for asked, rows in before.items() if "imported_id = 'T-1042'" in asked and not rows] == []
    for _ in distribute(url, shards=SHARDS):
        pass
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM sona.acts WHERE act = 'store distributed'")
        connection.commit()
        ((spread,),) = connection.execute(SIZES).fetchall()
    after = answers(url)
    assert {asked: (rows, after[asked]) for asked, rows in before.items() if after[asked] != rows} == {}
    assert spread > size / 2
