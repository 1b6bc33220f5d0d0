"""Maintenance of the ledger's tables: partitions ahead, rows put where they belong, sealing, retention, pruning.

Every run does what is left to do and nothing twice, as of one moment that the database's clock gives. One maintainer
works at a time: it holds an advisory lock in a transaction of its own, which has no snapshot, so that index builds do
not wait for it. Whatever needs an exclusive lock waits for half a second at most and is left for the next run
otherwise: a recorder would queue behind the wait. Settings are set for a transaction, never for a session: behind a
transaction pooler that is somebody else's next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Engine

from sona_pg.config import MaintenanceConfig
from sona_pg.domain.upkeep import MaintenanceAction
from sona_pg.store import fleet, states
from sona_pg.store.admin import retention, sealing, weeks
from sona_pg.store.admin.building import Builder, CannotBuild, builder
from sona_pg.store.admin.weeks import LEDGER, WEEK, Week
from sona_pg.store.connect import CONNECT_TIMEOUT, driver_arguments, read_times, translated
from sona_pg.store.spaces import LOCK as PARTITION_LOCK

LOCK = 0x736F6E63  # 'sonc', the advisory lock of maintenance
ATTEMPTS = 4
PROOF = timedelta(weeks=4)  # a spool that is replayed later than this finds its rows, not its mark
BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
NO_ROOM = (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory)
SILENT = timedelta(days=1)  # nothing was recorded for a removed space: no engine has it open any more

# A partition of the past is made for the last weeks, and for earlier ones with so many rows: every search and every
# plan pays for each. Ids of before 2020 are no ids of ours.
RECENT = timedelta(weeks=13)
WORTH = 1_000
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)

# What an administrator has set for requests must not end the transaction that only holds the lock.
UNLIMITED = """
DO $$ BEGIN
    SET LOCAL idle_in_transaction_session_timeout = 0;
    IF current_setting('server_version_num')::int >= 170000 THEN
        SET LOCAL transaction_timeout = 0;
    END IF;
END $$
"""
PATIENT = "SET LOCAL statement_timeout = 0"
BRIEF = "SET LOCAL lock_timeout = '500ms'"
# Without parameters, that is in the simple protocol: an open portal would keep its snapshot, for which builds wait.
TRY_LOCK = f"SELECT pg_try_advisory_xact_lock({LOCK})"
WAIT_LOCK = "SELECT pg_advisory_xact_lock(%(lock)s)"
CLOCK = "SELECT clock_timestamp()"

T = TypeVar("T")


class Maintenance:
    """One run; ``cancel`` ends it from another thread."""

    def __init__(self, engine: Engine, policy: MaintenanceConfig, now: Callable[[], datetime] | None = None) -> None:
        """Prepare; ``run`` does the work. ``now`` is for tests: the clock that counts is the database's."""
        self._engine = engine
        self._policy = policy
        self._now = now
        self._at = datetime.max.replace(tzinfo=UTC)  # of the run
        self._busy: psycopg.Connection[Any] | None = None  # the connection that works
        self._cancelled = False

    def run(self) -> Iterator[MaintenanceAction]:
        """Do what is left to do; give each thing when it is done.

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
                for task in (*tasks, self._thin_out, self._sweep):
                    if self._cancelled:
                        return
                    yield from task(work)
            finally:
                self._busy = None

    def cancel(self) -> None:
        """End the run soon: what it is building is left invalid, and made again by the next one."""
        self._cancelled = True
        busy = self._busy
        if busy is not None and not busy.closed:
            busy.cancel_safe(timeout=CONNECT_TIMEOUT)

    # -- partitions -----------------------------------------------------------------------------------------

    def _expire(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        """Delete from the default partitions what retention would have dropped."""
        regardless = self._policy.drop_unlearned
        if oldest := self._oldest("trajectories"):
            with _patiently(work):
                gone = retention.expire(work, oldest, self._at, even_unlearned=regardless)
            if gone:
                yield MaintenanceAction(
                    "deleted", "trajectories_rest", f"{gone} rows older than {oldest.monday:%Y-%m-%d}"
                )
        if oldest := self._oldest("steps"):
            with _patiently(work):
                gone = retention.expire_steps(work, oldest, even_unlearned=regardless)
            if gone:
                yield MaintenanceAction("deleted", "steps_rest", f"{gone} rows older than {oldest.monday:%Y-%m-%d}")

    def _give_up(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        """Delete feedback whose trajectory never came: from the default partition, and from one old week a run."""
        before = self._at - self._policy.keep_waiting_weeks * WEEK
        old = [week for week in weeks.weeks_of(work, "feedback") if week.monday < before]
        regardless = self._policy.drop_unlearned
        turn = int(self._at.timestamp() // self._policy.interval)
        for week in [None, *([old[turn % len(old)]] if old else [])]:
            for space in weeks.spaces(work):
                regardless = self._policy.drop_unlearned
                facts, busy = self._briefly(
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
        """Move rows out of the default partitions into weeks that are worth a partition; others rest."""
        ahead = Week(Week.of(self._at).monday + (self._policy.weeks_ahead + 1) * WEEK)
        there = set(weeks.weeks_of(work, "trajectories"))
        with _patiently(work):
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
            work.execute(WAIT_LOCK, {"lock": PARTITION_LOCK})  # engines that open a space make partitions as well
            return weeks.make(work, week, parent)

        started = time.perf_counter()
        names, busy = self._briefly(work, make)
        if busy:
            yield MaintenanceAction("later", week.partition(parent), f"not made: {busy}")
        for name in names or ():
            detail = f"{resting} rows out of the default partition" if resting else ""
            yield MaintenanceAction("moved" if resting else "made", name, detail, _since(started))

    def _drop(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        """Drop the weeks that retention is over for: all three tables together, steps earlier."""
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
        with _patiently(work):  # without a lock, so that a week that stays is scanned while nobody waits
            kept = 0 if regardless else retention.unlearned(work, week, parents)
        busy = ""
        if not kept:
            found, busy = self._briefly(
                work, partial(retention.drop_week, work, week, parents, even_unlearned=regardless)
            )
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
        """Return the oldest week of ``parent`` that is kept, or None if all are."""
        kept = [self._policy.keep_weeks] + [self._policy.keep_steps_weeks] * (parent == "steps")
        limits = [weeks_kept for weeks_kept in kept if weeks_kept]
        return Week(Week.of(self._at).monday - min(limits) * WEEK) if limits else None

    # -- sealing --------------------------------------------------------------------------------------------

    def _seal(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        """Index the weeks that are over."""
        over = self._at - timedelta(hours=self._policy.grace_hours)
        for week in weeks.weeks_of(work, "trajectories"):
            if week.end > over:
                continue
            with _patiently(work):
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
                with _patiently(work):
                    sealing.note(work, week, dims, self._at)

    def _build(self, work: psycopg.Connection[Any], week: Week, dim: int) -> Iterator[MaintenanceAction]:
        name = sealing.index_name(week, dim)
        started = time.perf_counter()
        broken = sealing.is_valid(work, week, dim) is False  # a build that crashed or was cancelled leaves it so
        with _patiently(work):
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
            # A parallel build takes its memory from /dev/shm, which a container may have little of.
            with self._builder(memory, parallel=False) as build:
                sealing.unmake(build.raw, week, dim)
                if not build.direct:
                    raise
                sealing.build(build.raw, week, dim)
        detail = f"{rows} trajectories" + ("" if direct else ", through a pooler: with the server's own memory setting")
        yield MaintenanceAction("repaired" if broken else "indexed", name, detail, _since(started))

    @contextmanager
    def _builder(self, memory_mb: int, *, parallel: bool = True) -> Iterator[Builder]:
        """Open a connection to build on, which ``cancel`` cancels meanwhile."""
        with builder(self._engine.url, memory_mb, parallel=parallel) as build:
            work, self._busy = self._busy, build.raw
            try:
                yield build
            finally:
                self._busy = work

    # -- learned things -------------------------------------------------------------------------------------

    def _thin_out(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        """Delete what no kept row refers to."""
        before = min(self._at - PROOF, retention.oldest_kept(work) or self._at)
        # By whole weeks, so that the ledger is looked through once a week.
        sets_before = self._oldest("trajectories") or Week.of(self._at - PROOF)
        failed = self._at - PROOF
        for space in weeks.spaces(work):
            with _patiently(work):
                gone = retention.compact(work, space, before, self._at)
            if gone:
                yield MaintenanceAction("compacted", f"space {space}", f"{gone} batches of before {before:%Y-%m-%d}")
            with self._engine.begin() as connection:
                pruned = states.prune(connection, space, self._policy.keep_versions)
            if pruned:
                yield MaintenanceAction(
                    "pruned", f"space {space}", f"{pruned} state versions, {self._policy.keep_versions} kept"
                )
            for what, forget in {
                "cycles": partial(retention.forget_cycles, work, space, before, failed),
                "sets of candidates": partial(retention.forget_sets, work, space, sets_before.monday, self._at),
                "reasons of trajectories set aside": partial(retention.forget_reasons, work, space, before, self._at),
            }.items():
                count, busy = self._briefly(work, forget)
                if busy:
                    yield MaintenanceAction("later", f"space {space}", f"{what} not forgotten: {busy}")
                elif count:
                    yield MaintenanceAction("forgot", f"space {space}", f"{count} {what}")
            yield from self._forget_servers(work, space)

    def _sweep(self, work: psycopg.Connection[Any]) -> Iterator[MaintenanceAction]:
        """Delete the rows of spaces that were removed."""
        with _patiently(work):
            gone = retention.delete_orphans(work, self._at - SILENT)
        for (name, space), rows in gone.items():
            yield MaintenanceAction("deleted", name, f"{rows} rows of space {space}, which was removed")

    def _forget_servers(self, work: psycopg.Connection[Any], space: int) -> Iterator[MaintenanceAction]:
        """Take servers off the list that ended, or were killed, long ago."""
        before = self._at - timedelta(days=self._policy.keep_servers_days)
        row, busy = self._briefly(
            work, lambda: work.execute(fleet.FORGET, {"space": space, "before": before}).fetchone()
        )
        if busy:
            yield MaintenanceAction("later", f"space {space}", f"servers not forgotten: {busy}")
        elif row is not None:
            yield MaintenanceAction(
                "forgot", f"space {space}", f"{row[0]} servers of which nothing was heard since {before:%Y-%m-%d}"
            )

    def _briefly(self, work: psycopg.Connection[Any], change: Callable[[], T]) -> tuple[T | None, str]:
        """Make a change that needs exclusive locks; return its result, or why it could not be made now."""
        reason = ""
        for attempt in range(ATTEMPTS):
            try:
                with work.transaction():
                    work.execute(BRIEF)
                    work.execute(PATIENT)
                    return change(), ""
            except BUSY as exc:
                reason = f"{exc.diag.message_primary}; the next run tries again"
                time.sleep(0.1 * attempt)  # let those pass who queued behind the attempt
        return None, reason


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


@contextmanager
def _patiently(raw: psycopg.Connection[Any]) -> Iterator[None]:
    """Run statements in a transaction that no ``statement_timeout`` ends."""
    with raw.transaction():
        raw.execute(PATIENT)
        yield


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
