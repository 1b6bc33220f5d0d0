"""The previous release (revision 0004) records, learns and serves on this release's schema, and during its upgrade.

Its statements are frozen here.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from sona_pg.domain.ids import uuid7
from sona_pg.errors import DatabaseUnavailable
from sona_pg.store.admin import migrate

BEFORE = "0004"
BOUND = "3s"  # that no statement of the release before waits for a lock
AT = datetime(2026, 11, 20, tzinfo=UTC)

MARK = """
INSERT INTO sona.batches
    (space_id, batch, server_id, first_id, last_id, trajectories, steps, feedback, recorded_at)
VALUES (%(space)s, %(batch)s, %(server)s, %(id)s, %(id)s, 1, 1, 1, %(at)s)
ON CONFLICT DO NOTHING
RETURNING batch
"""
COUNT = """
UPDATE sona.servers
SET trajectories = trajectories + 1, feedback = feedback + 1, dropped = dropped + 0, seen_at = %(at)s
WHERE space_id = %(space)s AND server_id = %(server)s
"""
REGISTER = """
INSERT INTO sona.servers (space_id, server_id, host, pid, release, started_at, seen_at, serving_version)
VALUES (%(space)s, %(server)s, 'before', 1, '0.4', %(at)s, %(at)s, 0) ON CONFLICT DO NOTHING
"""
COPIES = {
    "COPY sona.trajectories (space_id, quality, id, batch, policy_version, candidate_set, latency_us, propensity, cost,"
    " lowest_reward, step_count, route, features, context, query, parameters, embedding) FROM STDIN":
        lambda v: (
            v["space"], 0.9, v["id"], v["batch"], 0, 7, 5, 0.5, 0.1, 1.0, 1, "gpt", None, None, "q", None, "[1,0]"),
    "COPY sona.steps (space_id, reward, trajectory_id, offset_us, ordinal, activations, attention) FROM STDIN":
        lambda v: (v["space"], 1.0, v["id"], 0, 0, "[1,0]", None),
    "COPY sona.feedback (space_id, quality, trajectory_id, sequence, batch, recorded_at, source, correction)"
    " FROM STDIN":
        lambda v: (v["space"], 1.0, v["id"], v["batch"], v["batch"], v["at"], "user", None),
}  # fmt: skip
STAGE = """
CREATE TEMP TABLE staged (position int GENERATED ALWAYS AS IDENTITY, candidate_id text, embedding halfvec)
ON COMMIT DROP
"""
CANDIDATES = """
INSERT INTO sona.candidates (space_id, candidate_id, recorded_at, embedding)
SELECT DISTINCT ON (candidate_id) %(space)s, candidate_id, %(at)s, embedding
FROM pg_temp.staged ORDER BY candidate_id, position DESC
ON CONFLICT (space_id, candidate_id) DO UPDATE SET embedding = excluded.embedding, recorded_at = excluded.recorded_at
WHERE candidates.space_id = %(space)s AND candidates.embedding <> excluded.embedding
"""
SET = """
INSERT INTO sona.candidate_sets (space_id, set_id, candidate_ids) VALUES (%(space)s, %(batch)s, '{a,b}')
ON CONFLICT DO NOTHING
"""
HEARTBEAT = """
WITH seen AS (
    UPDATE sona.servers SET seen_at = %(at)s, serving_version = 0
    WHERE space_id = %(space)s AND server_id = %(server)s RETURNING space_id
) SELECT live_version, (SELECT count(*) FROM seen) FROM sona.spaces WHERE space_id = %(space)s
"""

LOCK_SPACE = "SELECT live_version FROM sona.spaces WHERE space_id = %(space)s FOR NO KEY UPDATE"
WAITING = """
SELECT batch, first_id, last_id FROM sona.batches WHERE space_id = %(space)s AND cycle_id IS NULL ORDER BY batch
"""
SLOTS = """
UPDATE sona.candidates SET slot = (SELECT coalesce(max(slot) + 1, 0) FROM sona.candidates WHERE space_id = %(space)s)
WHERE space_id = %(space)s AND candidate_id = (
    SELECT min(candidate_id) FROM sona.candidates WHERE space_id = %(space)s AND slot IS NULL)
"""
PUBLISH = [
    "INSERT INTO sona.state_versions (space_id, version, parent, cycle_id, status, created_at, metrics)"
    " VALUES (%(space)s, %(version)s, %(version)s - 1, %(cycle)s, 'live', %(at)s, '{}')",
    "INSERT INTO sona.adapters (space_id, version, kind, layer, rank, dim, scale, norm, a, b)"
    " VALUES (%(space)s, %(version)s, 'micro', 0, 1, 2, 1, 0, '12345678', '12345678')",
    "INSERT INTO sona.state_arrays (space_id, version, part, name, dtype, shape, data)"
    " VALUES (%(space)s, %(version)s, 'ranker', 'x', '<f4', '{1}', '1234')",
    "UPDATE sona.state_versions SET status = 'retired'"
    " WHERE space_id = %(space)s AND status = 'live' AND version <> %(version)s",
    "UPDATE sona.spaces SET live_version = %(version)s WHERE space_id = %(space)s",
    "INSERT INTO sona.route_statistics"
    " (space_id, route, size, quality, quality_variance, latency_us, updated_version)"
    " VALUES (%(space)s, 'gpt', 1, 0.9, 0, 5, %(version)s) ON CONFLICT (space_id, route) DO UPDATE SET"
    " size = excluded.size, quality = excluded.quality, updated_version = excluded.updated_version",
    "INSERT INTO sona.patterns (space_id, dim, pattern_id, kind, size, weight, quality, created_version,"
    " updated_version, updated_at, centroid) VALUES (%(space)s, 2, %(pattern)s, 'general', 1, 1, 0.9, 1, %(version)s,"
    " %(at)s, '[1,0]')"
    " ON CONFLICT (space_id, dim, pattern_id) DO UPDATE SET updated_version = excluded.updated_version",
    "SELECT pg_notify('sona_versions', '1 ' || %(version)s)",
    "UPDATE sona.batches SET cycle_id = %(cycle)s WHERE space_id = %(space)s AND batch = ANY(%(claimed)s)",
    "INSERT INTO sona.cycles (space_id, cycle_id, loop, server_id, base_version, version, started_at, finished_at,"
    " trajectories, feedback, set_aside, patterns, detail) VALUES (%(space)s, %(cycle)s, 'background', %(server)s,"
    " %(version)s - 1, %(version)s, %(at)s, %(at)s, %(count)s, %(count)s, 0, 1, %(detail)s)",
]
SERVE = [
    "SELECT version, parent, cycle_id, status, created_at, metrics FROM sona.state_versions WHERE space_id = %(space)s",
    "SELECT * FROM sona.fleet", "SELECT * FROM sona.cycle_log", "SELECT * FROM sona.outcomes LIMIT 5",
    "SELECT candidate_id, embedding FROM sona.candidates WHERE space_id = %(space)s AND slot IS NOT NULL ORDER BY slot",
]  # fmt: skip


class Before:
    """A fleet of the release before: recorders, a learner and a reader, each in a thread, until told to stop."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.recorded: list[int] = []
        self.rounds = {"record": 0, "learn": 0, "serve": 0}
        self.failures: list[BaseException] = []
        self._stop = threading.Event()
        self._moved = threading.Condition()
        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO sona.space_names (name) VALUES ('load')")
            connection.execute(
                "INSERT INTO sona.spaces (space_id, name, dim, created_at) VALUES (1, 'load', 2, %s)", [AT]
            )
            connection.execute("SELECT sona.ensure_dimension(2)")
            connection.execute("SELECT sona.ensure_partitions(%s, 1)", [AT])

    @contextmanager
    def running(self) -> Iterator[Before]:
        work = [lambda: self._record(0), lambda: self._record(1), self._learn, self._serve]
        threads = [threading.Thread(target=self._loop, args=[kind]) for kind in work]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def go_on(self, rounds: int = 5) -> None:
        """Wait until each kind of work was done so many times more."""
        with self._moved:
            goal = {kind: done + rounds for kind, done in self.rounds.items()}
            there = self._moved.wait_for(
                lambda: self.failures or all(self.rounds[kind] >= goal[kind] for kind in goal), 60
            )
        assert not self.failures, self.failures
        assert there, f"{self.rounds}, expected {goal}"

    def _loop(self, work: Callable[[], Iterator[str]]) -> None:
        try:
            for kind in work():
                with self._moved:
                    self.rounds[kind] += 1
                    self._moved.notify_all()
                # A rest: with much recorded, the readers' transactions become longer than an upgrade waits.
                if self._stop.wait(0.02):
                    return
        except BaseException as exc:  # noqa: BLE001 - handed to the test's own thread
            with self._moved:
                self.failures.append(exc)
                self._moved.notify_all()

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url, options=f"-c lock_timeout={BOUND}", prepare_threshold=None)

    def _record(self, number: int) -> Iterator[str]:
        values = {"space": 1, "server": uuid7(), "at": AT}
        with self._connect() as connection:
            connection.execute(REGISTER, values)
            connection.commit()
            for turn in range(10**6):
                values |= {"batch": 2 * turn + number, "id": uuid7(int(AT.timestamp() * 1000) + turn)}
                assert connection.execute(MARK, values).fetchone()
                connection.execute(COUNT, values)
                for copy, row in COPIES.items():
                    with connection.cursor().copy(copy) as rows:
                        rows.write_row(row(values))
                connection.commit()
                self.recorded.append(values["batch"])
                connection.execute(STAGE)
                connection.execute(
                    "INSERT INTO pg_temp.staged (candidate_id, embedding) VALUES (%s, '[1,0]')", [f"c{turn}"]
                )
                connection.execute(CANDIDATES, values)
                connection.execute(SET, values)
                connection.commit()
                yield "record"

    def _learn(self) -> Iterator[str]:
        values = {"space": 1, "server": uuid7(), "at": AT, "pattern": UUID(int=7), "detail": json.dumps({})}
        with self._connect() as connection:
            while True:
                row = connection.execute(LOCK_SPACE, values).fetchone()
                assert row is not None
                claimed = [batch for batch, _, _ in connection.execute(WAITING, values)]
                connection.execute(SLOTS, values)
                values |= {"version": row[0] + 1, "cycle": uuid7(), "claimed": claimed, "count": len(claimed)}
                for statement in PUBLISH:
                    connection.execute(statement, values)
                connection.commit()
                yield "learn"

    def _serve(self) -> Iterator[str]:
        with self._connect() as connection:
            while True:
                connection.execute(HEARTBEAT, {"space": 1, "server": uuid7(), "at": AT})
                connection.commit()
                for statement in SERVE:
                    connection.execute(statement, {"space": 1})
                connection.commit()
                yield "serve"


@pytest.fixture
def before(empty_database_url: str) -> Before:
    migrate.upgrade(empty_database_url, BEFORE)
    return Before(empty_database_url)


def require_nothing_lost(before: Before) -> None:
    with psycopg.connect(before.url) as connection:
        for table in ("trajectories", "feedback", "batches"):
            stored = connection.execute(f"SELECT batch FROM sona.{table} ORDER BY 1").fetchall()
            assert [batch for (batch,) in stored] == sorted(before.recorded), table
        told, learned, last = connection.execute(
            "SELECT (SELECT sum(trajectories) FROM sona.servers),"
            " (SELECT sum(trajectories) FROM sona.cycles) + (SELECT count(*) FROM sona.batches WHERE cycle_id IS NULL),"
            " (SELECT max(version) = s.live_version FROM sona.state_versions) FROM sona.spaces s"
        ).fetchone()
    assert (told, learned, last) == (len(before.recorded), len(before.recorded), True)


def test_the_release_before_works_on_while_the_schema_is_upgraded_and_afterwards(before: Before) -> None:
    with before.running():
        before.go_on()
        assert migrate.upgrade(before.url).current
        before.go_on()
    require_nothing_lost(before)


class Attempts(logging.Handler):
    """Counts the postponed attempts."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.met = threading.Semaphore(0)

    def emit(self, record: logging.LogRecord) -> None:
        self.met.release()


def test_a_long_reader_delays_an_upgrade_and_no_session_queues_behind_it(before: Before) -> None:
    attempts = Attempts()
    log = logging.getLogger(migrate.__name__)
    level = log.level
    log.addHandler(attempts)
    log.setLevel(logging.INFO)
    done: list[bool] = []
    upgrade = threading.Thread(target=lambda: done.append(migrate.upgrade(before.url).current))
    try:
        with before.running(), psycopg.connect(before.url) as reader:
            before.go_on()
            reader.execute("SELECT count(*) FROM sona.servers").fetchall()  # as pg_dump does, for hours
            upgrade.start()
            for _ in range(3):
                assert attempts.met.acquire(timeout=30)
                before.go_on(2)
            assert done == []
            reader.rollback()
            upgrade.join()
            assert done == [True]
            before.go_on()
    finally:
        log.removeHandler(attempts)
        log.setLevel(level)
    require_nothing_lost(before)


def test_a_blocked_upgrade_names_the_blocker_and_leaves_the_schema_unchanged(
    before: Before, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "PAUSES", (0.01,))
    with psycopg.connect(before.url) as reader:
        reader.execute("SELECT count(*) FROM sona.servers").fetchall()
        with pytest.raises(DatabaseUnavailable, match=rf"stays at revision {BEFORE}.*2 attempts.*sona-pg db upgrade"):
            migrate.upgrade(before.url)
    assert migrate.status(before.url).revision == BEFORE
    assert migrate.upgrade(before.url).current
