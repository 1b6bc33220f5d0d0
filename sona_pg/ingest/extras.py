"""Candidates and candidate sets on their way to the store, in order of arrival."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from sona_pg.ingest import candidate_log, candidate_rows
from sona_pg.ingest.candidate_rows import Candidates, CandidateSet, Extra
from sona_pg.ingest.commit import Origin, Rejected
from sona_pg.ingest.link import Link, Overdue, Turns
from sona_pg.ingest.numbers import BatchNumbers
from sona_pg.ingest.refusals import state_of
from sona_pg.ingest.rejects import Rejects
from sona_pg.ingest.source import Source

log = logging.getLogger("sona_pg.ingest")

WARN_EVERY = 10.0  # seconds between two warnings that there is no room
ANNOUNCE_EVERY = 1.0  # seconds between two notices of new candidates: servers poll at the same interval
AT_ONCE = 100  # entries considered for one transaction


class Extras:
    """Bounded queue: any thread adds, the thread that serves the space stores.

    A set is added before any record names it. So the service reads ``put`` after it has taken a batch, stores up to
    that mark, and writes the batch last: no record is committed before the set and the candidates it names.
    """

    def __init__(
        self,
        changed: threading.Condition,
        room: int,
        source: Source,
        link: Link,
        origin: Origin,
        numbers: BatchNumbers,
        rejects: Rejects,
    ) -> None:
        """Take at most ``room`` bytes; ``changed`` guards the counters and is notified when they change."""
        self.put = self.done = 0
        self.refused = 0
        self.bytes = 0
        self._changed = changed
        self._room = room
        self._source = source
        self._link = link
        self._origin = origin
        self._numbers = numbers
        self._rejects = rejects
        self._queue: deque[Extra] = deque()
        self._warned = -WARN_EVERY  # monotonic seconds
        self._announced = -ANNOUNCE_EVERY  # monotonic seconds

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, rows: Sequence[Extra], *, kept: bool = False) -> bool:
        """Queue ``rows``, all or none; return whether there was room. Call it with ``changed`` held.

        ``kept``: the source has written them to its files already.

        Raises:
            StorageError: the spool cannot keep them.
        """
        size = sum(row.bytes for row in rows)
        # An entry larger than the whole bound is accepted once the queue is empty.
        if self._queue and self.bytes + size > self._room:
            return False
        if not kept:
            self._source.keep(rows)
        self._queue.extend(rows)
        self.put += len(rows)
        self.bytes += size
        return True

    def rest(self) -> list[Extra]:
        """Return the queued entries."""
        return list(self._queue)

    def say_no_room(self) -> None:
        """Warn, rate-limited, that the queue is full and candidates were not stored."""
        now = time.monotonic()
        if now >= self._warned + WARN_EVERY:
            self._warned = now
            log.warning(
                "%d bytes of candidates wait for Postgres: others are stored when they are used again; if it answers, "
                "raise IngestConfig.buffer_bytes", self.bytes
            )  # fmt: skip

    def store(self, mark: int) -> Turns[None]:
        """Commit the entries up to ``mark``; later ones wait for another call, so that records need not wait for them.

        Raises:
            DatabaseUnavailable: the link was abandoned.
            SpaceRemoved: the space is gone.
        """
        while self.done < mark:
            some = [self._queue[at] for at in range(min(mark - self.done, AT_ONCE))]
            for part in candidate_rows.in_parts(some):
                yield from self._store_part(part)
                with self._changed:
                    for _ in part:
                        self.bytes -= self._queue.popleft().bytes
                    self.done += len(part)
                    self._source.kept(len(part))
                    self._changed.notify_all()
                yield 0.0

    def replay(self, rows: Sequence[Extra]) -> Turns[None]:
        """Commit the candidates and sets in a dead process's files; idempotent.

        Raises:
            DatabaseUnavailable, SpaceRemoved: as ``store``.
        """

        def write(raw: psycopg.Connection[Any], number: int, part: Sequence[Extra]) -> None:
            candidate_log.store(raw, origin=self._origin, number=number, rows=part)

        for part in candidate_rows.in_parts(rows):
            yield from self._deliver(part, write)
            yield 0.0

    def _store_part(self, part: Sequence[Extra]) -> Turns[None]:
        now = datetime.now(UTC)
        announce = time.monotonic() >= self._announced + ANNOUNCE_EVERY

        def write(raw: psycopg.Connection[Any], number: int, part: Sequence[Extra]) -> bool:
            return candidate_rows.write(raw, self._origin, number, part, now, announce=announce)

        if (yield from self._deliver(part, write)):
            self._announced = time.monotonic()

    def _deliver(
        self, part: Sequence[Extra], write: Callable[[psycopg.Connection[Any], int, Sequence[Extra]], object]
    ) -> Turns[bool]:
        """Commit ``part``, in halves where the server asks for less; return whether any ``write`` was truthy.

        Entries refused for their content go to the rejected rows.
        """
        number, smaller = self._numbers.next(), halves(part)
        try:
            told = yield from self._link.deliver(
                number, lambda raw: write(raw, number, part), splits=len(smaller) > 1
            )  # fmt: skip
        except (psycopg.Error, Overdue) as exc:  # refused, or over a time limit
            if isinstance(exc, psycopg.Error) and len(smaller) == 1:
                self._set_aside(number, part[0], exc)
                return False
            done = False
            for half in smaller:  # what an overdue attempt may have stored is stored again, which changes nothing
                done |= yield from self._deliver(half, write)
            return done
        return bool(told)

    def _set_aside(self, number: int, row: Extra, exc: psycopg.Error) -> None:
        kind = "candidate_set" if isinstance(row, CandidateSet) else "candidate"
        reason = f"{state_of(exc)}: {exc.diag.message_primary or exc}"
        name = str(row.set_id) if isinstance(row, CandidateSet) else row.ids[0]
        refused = Rejected(kind, name, reason, {f"{kind}s": candidate_log.framed(row)})
        self._rejects.keep(number, [refused], datetime.now(UTC))
        with self._changed:
            self.refused += 1


def halves(part: Sequence[Extra]) -> list[Sequence[Extra]]:
    """Return ``part`` in two halves; a single entry as it is."""
    if len(part) > 1:
        return [part[: len(part) // 2], part[len(part) // 2 :]]
    [row] = part
    return [[half] for half in candidate_rows.halves(row)] if isinstance(row, Candidates) else [part]
