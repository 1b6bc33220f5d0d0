"""Maintenance of the ledger's tables: partitions ahead, rows put where they belong, sealing, retention, pruning.

Every run does what is left to do and nothing twice. One maintainer works at a time: it holds an advisory lock in a
transaction of its own, which has no snapshot, so that index builds do not wait for it. Whatever needs an exclusive
lock waits for half a second at most and is left for the next run otherwise: a recorder would queue behind the wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Engine

from sona_pg.config import MaintenanceConfig
from sona_pg.domain.upkeep import Done
from sona_pg.store import fleet, sealing, states, weeks
from sona_pg.store.connect import CONNECT_TIMEOUT, translated
from sona_pg.store.spaces import LOCK as PARTITION_LOCK
from sona_pg.store.weeks import LEDGER, WEEK, Week

LOCK = 0x736F6E63  # 'sonc', the advisory lock of maintenance
ATTEMPTS = 4
PROOF = timedelta(weeks=4)  # a spool that is replayed later than this finds its rows, not its mark
BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)

# What an administrator has set for requests must not end a build, nor the transaction that only holds the lock.
UNLIMITED = "SET LOCAL idle_in_transaction_session_timeout = 0"
BUILD_SETTINGS = "SET statement_timeout = 0; SET lock_timeout = '10min'"
BRIEF = "SET LOCAL lock_timeout = '500ms'"
# Without parameters, that is in the simple protocol: an open portal would keep its snapshot, for which builds wait.
TRY_LOCK = f"SELECT pg_try_advisory_xact_lock({LOCK})"
WAIT_LOCK = "SELECT pg_advisory_xact_lock(%(lock)s)"

T = TypeVar("T")

# To a learner a batch without a row is one that was learned from; and no row that is kept is of a batch this old.
COMPACT = """
DELETE FROM sona.batches
WHERE space_id = %(space)s AND cycle_id IS NOT NULL AND recorded_at < %(before)s
"""


class Maintenance:
    """One run; ``cancel`` ends it from another thread."""

    def __init__(self, engine: Engine, policy: MaintenanceConfig, now: Callable[[], datetime] | None = None) -> None:
        """Prepare; ``run`` does the work."""
        self._engine = engine
        self._policy = policy
        self._now = now or (lambda: datetime.now(UTC))
        self._work: psycopg.Connection[Any] | None = None
        self._cancelled = False

    def run(self) -> Iterator[Done]:
        """Do what is left to do; give each thing when it is done.

        Raises:
            DatabaseError: Postgres is away or refused, or the run was cancelled.
        """
        url = self._engine.url
        address = url.set(drivername="postgresql").render_as_string(hide_password=False)
        with (
            translated("maintaining the store", url),
            _connect(address, "sona-pg maintenance lock") as guard,
            _connect(address, "sona-pg maintenance") as work,
            guard.transaction(),
        ):
            guard.execute(UNLIMITED)
            if guard.execute(TRY_LOCK).fetchone() != (True,):
                yield Done("skipped", "all", "another maintainer is at work")
                return
            work.execute(BUILD_SETTINGS)
            self._work = work
            try:
                for task in (self._expire, self._move, self._make_ahead, self._drop, self._seal, self._thin_out):
                    if self._cancelled:
                        return
                    yield from task(work)
            finally:
                self._work = None

    def cancel(self) -> None:
        """End the run soon: what it is building is left invalid, and made again by the next one."""
        self._cancelled = True
        work = self._work
        if work is not None and not work.closed:
            work.cancel_safe(timeout=CONNECT_TIMEOUT)

    # -- partitions -----------------------------------------------------------------------------------------

    def _expire(self, work: psycopg.Connection[Any]) -> Iterator[Done]:
        """Delete from the default partitions what retention would have dropped."""
        for parent in LEDGER:
            oldest = self._oldest(parent)
            if oldest is not None and (gone := weeks.delete_resting(work, parent, oldest)):
                yield Done("deleted", f"{parent}_rest", f"{gone} rows older than {oldest.monday:%Y-%m-%d}")

    def _move(self, work: psycopg.Connection[Any]) -> Iterator[Done]:
        """Move rows out of the default partitions; rows of weeks too far ahead wait there."""
        ahead = Week(Week.of(self._now()).monday + (self._policy.weeks_ahead + 1) * WEEK)
        for week, resting in weeks.resting_weeks(work, ahead).items():
            for parent in LEDGER:
                yield from self._make(work, week, parent, resting.get(parent, 0))

    def _make_ahead(self, work: psycopg.Connection[Any]) -> Iterator[Done]:
        this = Week.of(self._now()).monday
        there = {parent: set(weeks.weeks_of(work, parent)) for parent in LEDGER}
        for number in range(-1, self._policy.weeks_ahead + 1):
            week = Week(this + number * WEEK)
            for parent in LEDGER:
                if week not in there[parent]:
                    yield from self._make(work, week, parent, 0)

    def _make(self, work: psycopg.Connection[Any], week: Week, parent: str, resting: int) -> Iterator[Done]:
        def make() -> list[str]:
            work.execute(WAIT_LOCK, {"lock": PARTITION_LOCK})  # engines that open a space make partitions as well
            return weeks.make(work, week, parent)

        started = time.perf_counter()
        names, busy = self._briefly(work, make)
        if busy:
            yield Done("later", week.partition(parent), f"not made: {busy}")
        for name in names or ():
            detail = f"{resting} rows out of the default partition" if resting else ""
            yield Done("moved" if resting else "made", name, detail, _since(started))

    def _drop(self, work: psycopg.Connection[Any]) -> Iterator[Done]:
        """Drop the weeks that retention is over for: all three tables together, steps earlier."""
        there = {parent: weeks.weeks_of(work, parent) for parent in LEDGER}
        for week in sorted({week for found in there.values() for week in found}):
            expired = [parent for parent in LEDGER if (oldest := self._oldest(parent)) is not None and week < oldest]
            parents = [parent for parent in expired if week in there[parent]]
            if not parents:
                continue
            started = time.perf_counter()
            _, busy = self._briefly(work, partial(weeks.drop, work, week, parents))
            for parent in parents:
                subject = week.partition(parent)
                yield (
                    Done("later", subject, f"not dropped: {busy}")
                    if busy
                    else Done("dropped", subject, "", _since(started))
                )

    def _oldest(self, parent: str) -> Week | None:
        """Return the oldest week of ``parent`` that is kept, or None if all are."""
        kept = [self._policy.keep_weeks] + [self._policy.keep_steps_weeks] * (parent == "steps")
        limits = [weeks_kept for weeks_kept in kept if weeks_kept]
        return Week(Week.of(self._now()).monday - min(limits) * WEEK) if limits else None

    # -- sealing --------------------------------------------------------------------------------------------

    def _seal(self, work: psycopg.Connection[Any]) -> Iterator[Done]:
        """Index the weeks that are over."""
        over = self._now() - timedelta(hours=self._policy.grace_hours)
        for week in weeks.weeks_of(work, "trajectories"):
            if week.end > over:
                continue
            dims = sealing.dimensions(work, week)
            missing = [dim for dim in dims if not sealing.is_valid(work, week, dim)]
            if missing and sealing.is_being_built(work, week):
                yield Done("later", week.partition("trajectories"), "somebody else builds an index on it")
                continue
            for dim in missing:
                yield from self._build(work, week, dim)
                if self._cancelled:
                    return
            if dims and (missing or sealing.needs_note(work, week, dims)):
                sealing.note(work, week, dims, self._now())

    def _build(self, work: psycopg.Connection[Any], week: Week, dim: int) -> Iterator[Done]:
        name = sealing.index_name(week, dim)
        started = time.perf_counter()
        action = "indexed"
        if sealing.is_valid(work, week, dim) is False:
            sealing.unmake(work, week, dim)  # a build that crashed or was cancelled leaves it so
            action = "repaired"
        sealing.freeze(work, week)
        rows = sealing.build(work, week, dim, self._policy.memory_mb)
        yield Done(action, name, f"{rows} trajectories", _since(started))

    # -- learned things -------------------------------------------------------------------------------------

    def _thin_out(self, work: psycopg.Connection[Any]) -> Iterator[Done]:
        """Delete what no kept row refers to: marks of learned batches, and old state versions."""
        kept = [week.monday for parent in LEDGER for week in weeks.weeks_of(work, parent) if parent != "steps"]
        before = min([self._now() - PROOF, *kept])
        for space in weeks.spaces(work):
            if gone := work.execute(COMPACT, {"space": space, "before": before}).rowcount:
                yield Done("compacted", f"space {space}", f"{gone} batches of before {before:%Y-%m-%d}")
            with self._engine.begin() as connection:
                pruned = states.prune(connection, space, self._policy.keep_versions)
            if pruned:
                yield Done("pruned", f"space {space}", f"{pruned} state versions, {self._policy.keep_versions} kept")
            yield from self._forget_servers(work, space)

    def _forget_servers(self, work: psycopg.Connection[Any], space: int) -> Iterator[Done]:
        """Take servers off the list that ended, or were killed, long ago."""
        before = self._now() - timedelta(days=self._policy.keep_servers_days)
        row, busy = self._briefly(
            work, lambda: work.execute(fleet.FORGET, {"space": space, "before": before}).fetchone()
        )
        if busy:
            yield Done("later", f"space {space}", f"servers not forgotten: {busy}")
        elif row is not None:
            yield Done(
                "forgot", f"space {space}", f"{row[0]} servers of which nothing was heard since {before:%Y-%m-%d}"
            )

    def _briefly(self, work: psycopg.Connection[Any], change: Callable[[], T]) -> tuple[T | None, str]:
        """Make a change that needs exclusive locks; return its result, or why it could not be made now."""
        reason = ""
        for attempt in range(ATTEMPTS):
            try:
                with work.transaction():
                    work.execute(BRIEF)
                    return change(), ""
            except BUSY as exc:
                reason = f"{exc.diag.message_primary}; the next run tries again"
                time.sleep(0.1 * attempt)  # let those pass who queued behind the attempt
        return None, reason


def _connect(address: str, name: str) -> psycopg.Connection[Any]:
    return psycopg.connect(
        address, autocommit=True, connect_timeout=CONNECT_TIMEOUT, application_name=name, prepare_threshold=None
    )


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
