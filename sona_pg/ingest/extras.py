"""What is stored beside records: candidates and their sets, in the order in which they came, up to a mark."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg

from sona_pg.ingest import candidate_rows
from sona_pg.ingest.candidate_rows import Candidates, Extra
from sona_pg.ingest.commit import Origin
from sona_pg.ingest.link import Link
from sona_pg.ingest.numbers import BatchNumbers
from sona_pg.ingest.source import Source

log = logging.getLogger("sona_pg.ingest")

WARN_EVERY = 10.0  # seconds between two warnings that there is no room
ANNOUNCE_EVERY = 1.0  # seconds between two announcements of new candidates: servers look that often by themselves
AT_ONCE = 100  # looked at to fill a transaction


class Extras:
    """A bounded queue; any thread adds, the writer's thread stores.

    A record that names a set is recorded after the set was added. So whoever notes ``put`` after having taken a batch,
    and stores up to there before writing the batch, commits no record before the set and the candidates it names.
    """

    def __init__(
        self,
        changed: threading.Condition,
        room: int,
        source: Source,
        link: Link,
        origin: Origin,
        numbers: BatchNumbers,
    ) -> None:
        """Take at most ``room`` bytes; ``changed`` guards the counters, and is notified of progress."""
        self.put = self.done = 0
        self.refused = 0
        self.bytes = 0
        self._changed = changed
        self._room = room
        self._source = source
        self._link = link
        self._origin = origin
        self._numbers = numbers
        self._queue: deque[Extra] = deque()
        self._warned = -WARN_EVERY  # monotonic seconds
        self._announced = -ANNOUNCE_EVERY  # monotonic seconds

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, rows: Sequence[Extra], *, kept: bool = False) -> bool:
        """Queue ``rows``, all or none; return whether there was room. Call it with ``changed`` held.

        ``kept`` says that the source has them already.

        Raises:
            StorageError: the spool cannot keep them.
        """
        size = sum(row.bytes for row in rows)
        # What is larger than all the room goes in when nothing else waits.
        if self._queue and self.bytes + size > self._room:
            return False
        if not kept:
            self._source.keep(rows)
        self._queue.extend(rows)
        self.put += len(rows)
        self.bytes += size
        return True

    def rest(self) -> list[Extra]:
        """Return what waits."""
        return list(self._queue)

    def say_no_room(self) -> None:
        """Warn, once in a while, of candidates that are not stored with this use."""
        now = time.monotonic()
        if now >= self._warned + WARN_EVERY:
            self._warned = now
            log.warning(
                "%d bytes of candidates wait for Postgres: others are stored when they are used again; if it answers, "
                "raise IngestConfig.buffer_bytes", self.bytes
            )  # fmt: skip

    def store(self, mark: int) -> None:
        """Commit what was put before ``put`` reached ``mark``; what comes meanwhile waits, or records would.

        Raises:
            DatabaseUnavailable: the link was abandoned.
            SpaceRemoved: the space is gone.
        """
        while self.done < mark:
            some = [self._queue[at] for at in range(min(mark - self.done, AT_ONCE))]
            for part in candidate_rows.in_parts(some):
                self._store_part(part)
                with self._changed:
                    for _ in part:
                        self.bytes -= self._queue.popleft().bytes
                    self.done += len(part)
                    self._source.kept(len(part))
                    self._changed.notify_all()

    def _store_part(self, part: Sequence[Extra]) -> None:
        number, now = self._numbers.next(), datetime.now(UTC)
        announce = time.monotonic() >= self._announced + ANNOUNCE_EVERY
        smaller = halves(part)
        try:
            announced = self._link.deliver(
                number,
                lambda raw: candidate_rows.write(raw, self._origin, number, part, now, announce=announce),
                splits=len(smaller) > 1,
            )
            if announced:
                self._announced = time.monotonic()
        except psycopg.Error as exc:  # refused, or too many at once
            if len(smaller) > 1:
                for half in smaller:
                    self._store_part(half)
                return
            log.error("candidates were refused and are left out: %s", exc)
            with self._changed:
                self.refused += 1


def halves(part: Sequence[Extra]) -> list[Sequence[Extra]]:
    """Return ``part`` in two, or as it is where it cannot be split."""
    if len(part) > 1:
        return [part[: len(part) // 2], part[len(part) // 2 :]]
    [row] = part
    return [[half] for half in candidate_rows.halves(row)] if isinstance(row, Candidates) else [part]
