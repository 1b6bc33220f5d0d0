"""The thread that keeps the spaces of a process current.

It receives notices, polls for missed ones, and sends heartbeats. One statement polls all spaces.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from sona_pg.engine.fleet_reports import Count, FleetReports, Share
from sona_pg.engine.followed_space import ClockReading, FollowedSpace, Heard, is_another
from sona_pg.engine.roster import BEAT_EVERY, CANDIDATES_EVERY, Group, Place, Roster, is_news, said_of
from sona_pg.errors import DatabaseError, DatabaseUnavailable, SonaError
from sona_pg.store.notify import Notice
from sona_pg.store.roll_call import Look, RollCall, SpaceIds

log = logging.getLogger(__name__)

PATIENCE = 3.0  # seconds that a stop waits for the call the thread is in
LOG_EVERY = 30.0  # seconds between two log lines about a store with repeated outages
RETRY = (0.2, 5.0)  # seconds before the first and before every later attempt while the database is away
ATTACH_FOR = 0.5  # seconds of late openings, after which open spaces have their turn
BUSY = 0.1  # seconds until a space that was being refreshed is polled again
LONGEST_WAIT = 2.0  # seconds between checks whether maintenance is due
LEAST_NOISE = 0.001  # seconds of difference between two readings of the same clocks


class Announcements(Protocol):
    """Source of notices; ``NoticeListener`` is the one of a database."""

    hears: bool
    connections: int

    def wait(self, seconds: float) -> Sequence[Notice]: ...

    def wake(self) -> None:
        """End the wait that runs, or the next one; called by any thread."""

    def close(self) -> None: ...


class Follower:
    """Follows any number of spaces from one thread; retries while the database is away."""

    def __init__(
        self,
        listener: Announcements,
        look: Callable[[Look], RollCall],
        revive: Callable[[], object] = lambda: None,
        meanwhile: Callable[[], object] = lambda: None,
        count: Count | None = None,
        share: Share | None = None,
    ) -> None:
        """Prepare; ``start`` begins.

        Args:
            listener: the source of notices.
            look: asks the database.
            revive: called while the database is away.
            meanwhile: called regularly otherwise; must return at once.
            count: adds how often patterns were found, by space, to what the database knows; returns their use since.
            share: reports what servers have spent; returns what all others have.
        """
        self._listener = listener
        self._look = look
        self._revive = revive
        self._meanwhile = meanwhile
        self._reports = FleetReports(count, share)
        self._stop = threading.Event()
        self._roster = Roster()
        self._at: FollowedSpace | None = None  # the space the thread is busy with
        self._connections = 0  # connections of the listener at the last poll
        self._clock_offset: float | None = None  # see ``ClockReading``; as passed to all spaces
        self._skew_ms: float | None = None
        self._thread = threading.Thread(target=self._run, name="sona-pg follower", daemon=True)
        self.last_contact = time.monotonic()  # the store has just answered
        self._away_said = False  # whether the current outage was logged
        self._away_said_at = -LOG_EVERY
        self._failing = False

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def join(self, followed: FollowedSpace) -> None:
        """Follow a space: first after its interval, or at once if the database has not answered yet."""
        if self._roster.join(followed, time.monotonic()):
            self._listener.wake()

    def attend(self, followed: FollowedSpace) -> None:
        """Pass the result of the next poll to a space, news or not, and of later ones as long as it wants that.

        Any thread may call it; it takes no lock.
        """
        self._roster.attend(followed)

    def pace(self, followed: FollowedSpace) -> None:
        """Share a space's spending under its budget with every poll; any thread may call it."""
        self._roster.pace(followed)

    def follows(self, followed: FollowedSpace) -> bool:
        """Whether a space is followed; False once it was found to be removed."""
        return followed in self._roster.places

    def leave(self, followed: FollowedSpace, cut: Callable[[int | None], object] = lambda _: None) -> None:
        """Stop following a space; ``cut`` ends the thread's current call for it, should that not return."""
        self._roster.leave(followed)
        until = time.monotonic() + PATIENCE
        while self._at is followed and self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(0.01)
            if time.monotonic() > until:
                cut(self._thread.ident)
                until = time.monotonic() + PATIENCE

    def stop(self, cut: Callable[[int | None], object] = lambda _: None) -> None:
        """End the thread and close its connection; ``cut`` ends its current call, should that not return."""
        self._stop.set()
        self._listener.wake()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)
        while self._thread.is_alive():
            cut(self._thread.ident)
            self._thread.join(PATIENCE)
        self._listener.close()

    # -- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = RETRY[0]
        while not self._stop.is_set():
            try:
                self._wait_for_news()
                if not self._stop.is_set():
                    self._round()
                pause, self._failing = RETRY[0], False
            except DatabaseError as exc:
                self._say_away(exc)
                self._stop.wait(pause)
                if not self._stop.is_set():
                    self._revive()
                pause = min(2 * pause, RETRY[1])
            except Exception:  # a bug must not stop the follower
                if not self._failing:
                    log.exception("following the live versions failed; this server goes on with what it serves")
                self._failing = True
                self._stop.wait(pause)
                pause = min(2 * pause, RETRY[1])
            finally:
                self._at = None

    def _wait_for_news(self) -> None:
        """Wait for a notice, or until a space is due."""
        while not self._stop.is_set():
            now = time.monotonic()
            self._roster.arrange(now)
            due_at = self._roster.next_look()
            heard = self._listener.wait(min(max(due_at - now, 0.0), LONGEST_WAIT))
            self._meanwhile()
            if self._listener.connections != self._connections:  # earlier notices are lost
                self._connections = self._listener.connections
                self._roster.look_at_candidates()
            if heard:
                self._hear(heard)
                return
            if due_at <= now:
                return

    def _hear(self, heard: Collection[Notice]) -> None:
        """Make the announced spaces due now."""
        now = time.monotonic()
        self._roster.arrange(now)
        for notice in heard:
            if notice.batch is not None:
                self._roster.announce_judged(notice.space_id, notice.batch, now)
            else:
                self._roster.announce(notice.space_id, now, of_candidates=notice.of_candidates)

    def _round(self) -> None:
        """Poll every due space."""
        now = time.monotonic()
        self._roster.arrange(now)
        groups, early = self._roster.due(now)
        attached = [place for place in early if place.followed.space_id is not None]
        if attached:
            self._look_early(attached, now)
        for group in groups:
            self._look_at(group, now)
        for place in self._roster.due_judged(now):
            self._read_judged(place)
        self._attach([place for place in early if place.followed.space_id is None])

    def _look_early(self, places: Sequence[Place], now: float) -> None:
        """Poll single spaces, and their candidates."""
        spaces = SpaceIds.of(place.followed.space_id or 0 for place in places)
        heard, clock = self._ask(Look(spaces, is_news=True))
        self._roster.looked(places)
        for place in places:
            place.next_signal = now + CANDIDATES_EVERY
            self._tell(place, heard, clock)

    def _look_at(self, group: Group, now: float) -> None:
        """Poll all spaces of a group, with heartbeats and candidates when they are due."""
        asking, beating = group.next_signal <= now, group.next_beat <= now
        restless = [place for place in self._roster.restless() if group.holds(place)]
        if restless:
            group.beats = None
        beats = group.heartbeats() if beating else None
        signals = group.spaces if asking else None
        heard, clock = self._ask(
            Look(group.spaces, signals, beats, self._skew_ms, group.digest, group.signals_digest)
        )  # fmt: skip
        group.next_look = now + group.pace
        if beating:
            group.next_beat = now + BEAT_EVERY
        if asking:  # with notices, fewer polls are needed
            group.next_signal = now + (BEAT_EVERY if self._listener.hears else 0.0)
        if beating:
            self._reports.count_found([place.followed for place in group.places])
        spending = self._roster.spending(group)
        if self._has_moved(clock):
            self._tell_all(group.places, heard, clock)
            self._clock_offset = clock.offset
        elif heard.live is not None or heard.signals is not None or heard.unknown:
            self._tell_all(
                [place for place in group.places if place in restless or is_news(place, heard)], heard, clock
            )
        else:  # a thousand idle spaces hardly ever have news, and each call has its price
            self._tell_all(restless, heard, clock)
        self._reports.share_spending(spending, heard.at)
        group.digest = heard.digest
        group.signals_digest = heard.signals_digest if asking else group.signals_digest

    def _ask(self, look: Look) -> tuple[RollCall, ClockReading]:
        sent_at = time.time()
        heard = self._look(look)
        clock = ClockReading(sent_at, heard.at, time.time(), time.monotonic())
        self.last_contact, self._away_said = time.monotonic(), False
        self._skew_ms = clock.ahead * 1000
        return heard, clock

    def _has_moved(self, clock: ClockReading) -> bool:
        """Whether the clocks have moved against each other since all spaces were told of them."""
        known = self._clock_offset
        return known is None or abs(clock.offset - known) > max(LEAST_NOISE, clock.uncertainty)

    def _tell_all(self, places: Sequence[Place], heard: RollCall, clock: ClockReading) -> None:
        for place in places:
            self._tell(place, heard, clock)

    def _tell(self, place: Place, heard: RollCall, clock: ClockReading) -> None:
        """Pass a space its result; its failure is counted, logged once, and stops no other space."""
        followed = self._at = place.followed
        try:
            if not self.follows(followed):
                return
            space, before = followed.space_id or 0, place.told
            if heard.live is not None and space not in heard.live:
                log.error("space number %s was removed: it is not followed any more", space)
                self._roster.leave(followed)
                return
            if is_another(followed, heard):
                followed.lose()
                self._roster.leave(followed)
                return
            told = before if heard.live is None else (heard.live[space], *said_of(space, heard))
            if told is None:  # the last result could not be passed: it is polled by itself
                return
            if heard.signals is not None:
                signal = heard.signals.get(space)
            else:  # not asked, or no news
                signal = None if heard.signals_digest is None else place.signal
            place.told = None
            forgotten = bool(heard.unknown) and followed.beat().server_id in heard.unknown
            self._roster.calm(place)
            if followed.hear(Heard(*told, signal, forgotten, clock)):
                place.told, place.signal = told, signal or place.signal
                if told != before:
                    self._roster.renew_heartbeats(place)
                if before is not None and told[0] != before[0]:
                    self._roster.settle(place, time.monotonic())
            else:
                self._roster.look_early(place, time.monotonic() + BUSY)
            place.failing = ""
        except DatabaseUnavailable:
            self._roster.look_early(place, 0.0)
            raise
        except Exception as exc:
            followed.count_failure()
            self._roster.look_early(place, time.monotonic() + followed.poll_interval)
            if place.failing != type(exc).__name__:
                log.exception("following the live version failed; this server goes on with what it serves")
            place.failing = type(exc).__name__
        finally:
            self._at = None

    def _read_judged(self, place: Place) -> None:
        """Have a space read announced batches; what fails is read again with its next poll."""
        followed = self._at = place.followed
        try:
            if self.follows(followed) and not followed.read_judged():
                self._roster.judged[place] = time.monotonic() + BUSY
        except DatabaseUnavailable:
            self._roster.judged[place] = 0.0
            raise
        except Exception:  # a bug must not stop the follower
            followed.count_failure()
            log.exception("reading recent evidence failed; this server goes on without it")
        finally:
            self._at = None

    def _attach(self, late: Sequence[Place]) -> None:
        """Attach spaces that were opened without the database, longest waiting first."""
        started = time.monotonic()
        for place in sorted(late, key=lambda place: place.next_look):
            if self._stop.is_set() or time.monotonic() > started + ATTACH_FOR:
                return
            followed = self._at = place.followed
            place.next_look = time.monotonic()  # to the end of the queue, should the database be away
            try:
                if self.follows(followed):
                    followed.attach_late()
            except DatabaseUnavailable:
                raise
            except SonaError as exc:
                if place.failing != str(exc):
                    log.error("a space that was opened without its database cannot be opened now: %s", exc)
                place.failing = str(exc)
                place.pause = min(max(2 * place.pause, RETRY[0]), RETRY[1])
                place.next_look = time.monotonic() + place.pause
                followed.count_failure()
            else:
                self.last_contact, self._away_said = time.monotonic(), False
                self._roster.looked([place])
                self._roster.rearrange()
                place.failing, place.pause = "", 0.0
            finally:
                self._at = None

    def _say_away(self, exc: DatabaseError) -> None:
        """Log that the store is away: once an outage, and rate-limited if outages repeat."""
        now = time.monotonic()
        if not self._away_said and now >= self._away_said_at + LOG_EVERY:
            self._away_said, self._away_said_at = True, now
            log.warning("the store is away, serving the last version: %s", exc)
        for followed in list(self._roster.places):
            followed.say_away()
