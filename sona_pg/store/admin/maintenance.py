"""Maintenance of the ledger's tables: partitions, moving rows out of the default ones, sealing, retention, pruning.

A run is idempotent and uses one timestamp of the database's clock throughout. One maintainer runs at a time: it holds
an advisory lock in a separate transaction without a snapshot, so index builds do not wait for it. A request for an
exclusive lock gives up after half a second and is retried in the next run, because recorders queue behind it. Settings
are local to a transaction: behind a transaction pooler, a session belongs to another client next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
from sqlalchemy import Engine

from sona_pg.config import MaintenanceConfig
from sona_pg.domain.upkeep import MaintenanceAction
from sona_pg.store import upkeep_times
from sona_pg.store.admin import node_index, retention, sealing, summaries, thinning, weeks
from sona_pg.store.admin.building import Builder, CannotBuild, builder
from sona_pg.store.admin.upkeep_turns import briefly, patiently
from sona_pg.store.admin.weeks import LEDGER, WEEK, Week
from sona_pg.store.connect import CONNECT_TIMEOUT, driver_arguments, read_times, translated
from sona_pg.store.spaces import LOCK as PARTITION_LOCK

LOCK = 0x736F6E63  # 'sonc', the advisory lock of maintenance
NO_ROOM = (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory)
SILENT = timedelta(days=1)  # without new records: no engine has the removed space open any more

# Each partition costs every search and plan, so a past week gets one only if it is recent or has this many rows.
# Trajectory ids never date from before 2020.
RECENT = timedelta(weeks=13)
WORTH = 1_000
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)

# Timeouts that an administrator set for requests must not end the transaction that holds the lock.
UNLIMITED = """
DO $$ BEGIN
    SET LOCAL idle_in_transaction_session_timeout = 0;
    IF current_setting('server_version_num')::int >= 170000 THEN
        SET LOCAL transaction_timeout = 0;
    END IF;
END $$
"""
# Without parameters, so in the simple protocol: an open portal would keep a snapshot, and index builds wait for those.
TRY_LOCK = f"SELECT pg_try_advisory_xact_lock({LOCK})"
WAIT_LOCK = "SELECT pg_advisory_xact_lock(%(lock)s)"
CLOCK = "SELECT clock_timestamp()"


class Maintenance:
    """One maintenance run; ``cancel`` ends it from another thread."""

    def __init__(self, engine: Engine, policy: MaintenanceConfig, now: Callable[[], datetime] | None = None) -> None:
        """Prepare a run of ``policy``; tests pass ``now`` in place of the database's clock."""
        self._engine = engine
        self._policy = policy
        self._now = now
        self._at = datetime.max.replace(tzinfo=UTC)  # of the run
        self._busy: psycopg.Connection[Any] | None = None  # the connection that works
        self._cancelled = False

    def run(self) -> Iterator[MaintenanceAction]:
        """Perform every due task, and yield each action once it is done.

        Raises:
            DatabaseError: Postgres is away or refused, or the run was cancelled.
        """
        url = self._engine.url
        with (
            translated("maintaining the store", url),
            _connect(driver_arguments(url), "sona-pg maintenance lock") as guard,
            _connect(driver_arguments(url), "sona-pg maintenance") as work,
            guard.transaction(),
        ):
            guard.execute(UNLIMITED)
            if guard.execute(TRY_LOCK).fetchone() != (True,):
                yield MaintenanceAction("skipped", "all", "another maintainer is at work")
                return
            self._busy = work
            try:
                self._at = self._now() if self._now else _clock(work)
                tasks = (self._expire, self._give_up, self._move, self._make_ahead, self._drop, self._seal)
                for task in (*tasks, self._index_nodes, self._sum_up, self._thin_out, self._sweep):
                    if self._cancelled:
                        return
                    yield from task(work)
                upkeep_times.note(work, "maintained")
            finally:
                self._busy = None

    def cancel(self) -> None:
        """End the run soon. An index being built is left invalid; the next run rebuilds it."""
        self._cancelled = True
        busy = self._busy
        if busy is not None and not busy.closed:
            busy.cancel_safe(timeout=CONNECT_TIMEOUT)

    # -- partitions -----------------------------------------------------------------------------------------

    def _expire(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        """Delete rows past retention from the default partitions."""
        regardless = self._policy.drop_unlearned
        if oldest := self._oldest("trajectories"):
            with patiently(work):
                gone = retention.expire(work, oldest, self._at, even_unlearned=regardless)
            if gone:
                yield MaintenanceAction(
                    "deleted", "trajectories_rest", f"{gone} rows older than {oldest.monday:%Y-%m-%d}"
                )
        if oldest := self._oldest("steps"):
            with patiently(work):
                gone = retention.expire_steps(work, oldest, even_unlearned=regardless)
            if gone:
                yield MaintenanceAction("deleted", "steps_rest", f"{gone} rows older than {oldest.monday:%Y-%m-%d}")

    def _give_up(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        """Delete feedback whose trajectory never arrived, from the default partition and from one old week a run."""
        before = self._at - self._policy.keep_waiting_weeks * WEEK
        old = [week for week in weeks.weeks_of(work, "feedback") if week.monday < before]
        regardless = self._policy.drop_unlearned
        turn = int(self._at.timestamp() // self._policy.interval)
        for week in [None, *([old[turn % len(old)]] if old else [])]:
            for space in weeks.spaces(work):
                regardless = self._policy.drop_unlearned
                facts, busy = briefly(
                    work, partial(retention.give_up, work, space, week, before, even_unlearned=regardless)
                )
                if busy:
                    yield MaintenanceAction("later", f"space {space}", f"feedback not given up: {busy}")
                elif facts:
                    yield MaintenanceAction(
                        "gave up", f"space {space}",
                        f"{facts} facts of feedback, {self._policy.keep_waiting_weeks} weeks old, whose trajectory"
                        " never came",
                    )  # fmt: skip

    def _move(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        """Move rows from the default partitions into weekly ones, for weeks that are recent or large enough."""
        ahead = Week(Week.of(self._at).monday + (self._policy.weeks_ahead + 1) * WEEK)
        there = set(weeks.weeks_of(work, "trajectories"))
        with patiently(work):
            found = weeks.resting_weeks(work, ahead)
        for week, resting in found.items():
            recent = week.monday >= self._at - RECENT
            if week in there or (week.monday >= EARLIEST and (recent or max(resting.values()) >= WORTH)):
                for parent in LEDGER:
                    yield from self._make(work, week, parent, resting.get(parent, 0))

    def _make_ahead(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        this = Week.of(self._at).monday
        there = {parent: set(weeks.weeks_of(work, parent)) for parent in LEDGER}
        for number in range(-1, self._policy.weeks_ahead + 1):
            week = Week(this + number * WEEK)
            for parent in LEDGER:
                if week not in there[parent]:
                    yield from self._make(work, week, parent, 0)

    def _make(
        self, work: psycopg.Connection[Any], week: Week, parent: str, resting: int
    ) -> Iterator[MaintenanceAction]:
        def make() -> list[str]:
            work.execute(WAIT_LOCK, {"lock": PARTITION_LOCK})  # engines that open a space create partitions as well
            return weeks.make(work, week, parent)

        started = time.perf_counter()
        names, busy = briefly(work, make)
        if busy:
            yield MaintenanceAction("later", week.partition(parent), f"not made: {busy}")
        for name in names or ():
            detail = f"{resting} rows out of the default partition" if resting else ""
            yield MaintenanceAction("moved" if resting else "made", name, detail, _since(started))

    def _drop(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        """Drop weeks past retention: all three tables together, or steps earlier."""
        there = {parent: weeks.weeks_of(work, parent) for parent in LEDGER}
        for week in sorted({week for found in there.values() for week in found}):
            expired = [parent for parent in LEDGER if (oldest := self._oldest(parent)) is not None and week < oldest]
            parents = [parent for parent in expired if week in there[parent]]
            if not parents:
                continue
            yield from self._drop_week(work, week, parents)

    def _drop_week(self, work: psycopg.Connection[Any], week: Week, parents: list[str]) -> Iterator[MaintenanceAction]:
        started = time.perf_counter()
        regardless = self._policy.drop_unlearned
        with patiently(work):  # counted first without a lock: recorders must not wait for the scan
            kept = 0 if regardless else retention.unlearned(work, week, parents)
        busy = ""
        if not kept:
            found, busy = briefly(work, partial(retention.drop_week, work, week, parents, even_unlearned=regardless))
            kept = found or 0
        for parent in parents:
            subject = week.partition(parent)
            if busy:
                yield MaintenanceAction("later", subject, f"not dropped: {busy}")
            elif kept:
                yield MaintenanceAction("kept", subject, f"{kept} facts not learned from")
            else:
                yield MaintenanceAction("dropped", subject, "", _since(started))

    def _oldest(self, parent: str) -> Week | None:
        """Return the oldest week of ``parent`` within retention, or None without one."""
        kept = [self._policy.keep_weeks] + [self._policy.keep_steps_weeks] * (parent == "steps")
        limits = [weeks_kept for weeks_kept in kept if weeks_kept]
        return Week(Week.of(self._at).monday - min(limits) * WEEK) if limits else None

    # -- sealing --------------------------------------------------------------------------------------------

    def _seal(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        """Index the weeks that have ended."""
        over = self._at - timedelta(hours=self._policy.grace_hours)
        for week in weeks.weeks_of(work, "trajectories"):
            if week.end > over:
                continue
            with patiently(work):
                dims = sealing.dimensions(work, week)
            missing = [dim for dim in dims if not sealing.is_valid(work, week, dim)]
            if missing and sealing.is_being_built(work, week):
                yield MaintenanceAction("later", week.partition("trajectories"), "somebody else builds an index on it")
                continue
            for dim in missing:
                yield from self._build(work, week, dim)
                if self._cancelled:
                    return
            if dims and (missing or sealing.needs_note(work, week, dims)):
                with patiently(work):
                    sealing.note(work, week, dims, self._at)

    def _build(self, work: psycopg.Connection[Any], week: Week, dim: int) -> Iterator[MaintenanceAction]:
        name = sealing.index_name(week, dim)
        started = time.perf_counter()
        broken = sealing.is_valid(work, week, dim) is False  # left by a build that crashed or was cancelled
        with patiently(work):
            rows = sealing.count(work, week, dim)
        memory = sealing.megabytes(rows, dim, self._policy.memory_mb)
        try:
            with self._builder(memory) as build:
                direct = build.direct
                if broken:
                    sealing.unmake(build.raw, week, dim)
                sealing.freeze(build.raw, week)
                sealing.build(build.raw, week, dim)
        except CannotBuild as exc:
            yield MaintenanceAction("later", name, str(exc))
            return
        except NO_ROOM:
            # A parallel build allocates in /dev/shm, which is small in a container.
            with self._builder(memory, parallel=False) as build:
                sealing.unmake(build.raw, week, dim)
                if not build.direct:
                    raise
                sealing.build(build.raw, week, dim)
        detail = f"{rows} trajectories" + ("" if direct else ", through a pooler: with the server's own memory setting")
        yield MaintenanceAction("repaired" if broken else "indexed", name, detail, _since(started))

    @contextmanager
    def _builder(self, memory_mb: int, *, parallel: bool = True) -> Iterator[Builder]:
        """Open a connection for a build, which ``cancel`` interrupts."""
        with builder(self._engine.url, memory_mb, parallel=parallel) as build:
            work, self._busy = self._busy, build.raw
            try:
                yield build
            finally:
                self._busy = work

    def _index_nodes(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        for done in node_index.add_waiting(work):
            detail = f"{done.nodes} nodes of the memory graph"
            yield MaintenanceAction("indexed", f"space {done.space_id}", detail, done.seconds)

    # -- figures --------------------------------------------------------------------------------------------

    def _sum_up(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        """Compute the figures of days with new rows, and of days past retention."""
        if oldest := self._oldest("trajectories"):
            for space in weeks.spaces(work):
                summaries.expire(work, space, oldest.monday.date(), self._at)
        for done in summaries.sum_up(work, self._at if self._now else None):
            yield MaintenanceAction(
                "summed", f"space {done.space_id}", f"{done.day}: {done.figures} figures", done.seconds
            )

    # -- rows without a use -----------------------------------------------------------------------------------

    def _thin_out(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        # Moves by whole weeks, so that the ledger is scanned once a week.
        sets_before = (self._oldest("trajectories") or Week.of(self._at - thinning.PROOF)).monday
        yield from thinning.thin_out(self._engine, work, self._policy, self._at, sets_before)

    def _sweep(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        """Delete the rows of spaces that were removed."""
        with patiently(work):
            gone = retention.delete_orphans(work, self._at - SILENT)
        for (name, space), rows in gone.items():
            yield MaintenanceAction("deleted", name, f"{rows} rows of space {space}, which was removed")


def _connect(arguments: dict[str, Any], name: str) -> psycopg.Connection[Any]:
    common = {"autocommit": True, "connect_timeout": CONNECT_TIMEOUT, "prepare_threshold": None}
    raw = psycopg.connect(**{**arguments, **common, "application_name": name})
    try:
        read_times(raw)
    except BaseException:
        raw.close()
        raise
    return raw


def _clock(raw: psycopg.Connection[Any]) -> datetime:
    row = raw.execute(CLOCK).fetchone()
    assert row is not None
    at: datetime = row[0]
    return at.astimezone(UTC)


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
