"""The thread that keeps the spaces of a process current.

It receives notices, polls for missed ones, and sends heartbeats. One statement polls all spaces.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from sona_pg.errors import DatabaseError, DatabaseUnavailable, SonaError
from sona_pg.store.notify import Notice
from sona_pg.store.roll_call import Beat, RollCall

log = logging.getLogger(__name__)

PATIENCE = 3.0  # seconds that a stop waits for the call the thread is in
LOG_EVERY = 30.0  # seconds between two log lines about a store with repeated outages
RETRY = (0.2, 5.0)  # seconds before the first and before every later attempt while the database is away
BEAT_EVERY = 5.0  # seconds between heartbeats; a server counts as gone after three times as long
CANDIDATES_EVERY = 1.0  # seconds between reads of announced candidates: every server with new ones announces them
ATTACH_FOR = 0.5  # seconds of late openings, after which open spaces have their turn
STEP = 0.1  # seconds of waiting after which a stop is noticed


class FollowedSpace(Protocol):
    """Interface of one engine's space for the follower."""

    @property
    def poll_interval(self) -> float: ...

    @property
    def space_id(self) -> int | None:
        """The space's number; None until the database has answered."""

    @property
    def wants_every_look(self) -> bool:
        """Whether polls without news are wanted as well."""

    def attach_late(self) -> None:
        """Complete an opening without the database."""

    def beat(self) -> Beat: ...

    def hear(self, heard: RollCall, sent_at: float, answered_at: float) -> bool:
        """Apply the result of a poll; False: it is being refreshed, and must be polled again."""

    def say_away(self) -> None:
        """Warn of lost records while the database is away."""

    def count_failure(self) -> None: ...


class Announcements(Protocol):
    """Source of notices; ``NoticeListener`` is the one of a database."""

    hears: bool
    connections: int

    def wait(self, seconds: float) -> Sequence[Notice]: ...

    def close(self) -> None: ...


Look = Callable[[Sequence[int], Sequence[int], Sequence[Beat]], RollCall]


@dataclass(eq=False, slots=True)
class _Place:
    """Schedule of a space's polls; all times are monotonic seconds."""

    next_look: float
    next_beat: float = 0.0
    next_signal: float = 0.0  # read new candidates
    last_signal: float = -math.inf
    announced: float = math.inf  # time to read announced candidates, at most once a second
    told: int | None = None  # live version last passed to the space
    pause: float = 0.0  # pause after a refused attempt to attach
    failing: str = ""  # kind of the last failure, until a success


class Follower:
    """Follows any number of spaces from one thread; retries while the database is away."""

    def __init__(
        self,
        listener: Announcements,
        look: Look,
        revive: Callable[[], object] = lambda: None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepare; ``start`` begins.

        Args:
            listener: the source of notices.
            look: asks the database.
            revive: called while the database is away.
            meanwhile: called regularly otherwise; must return at once.
        """
        self._listener = listener
        self._look = look
        self._revive = revive
        self._meanwhile = meanwhile
        self._stop = threading.Event()
        self._places: dict[FollowedSpace, _Place] = {}  # changed by atomic operations only, because signal handlers do
        self._joined = False  # a space was added since the thread computed when the next is due
        self._at: FollowedSpace | None = None  # the space the thread is busy with
        self._connections = 0  # connections of the listener at the last poll
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
        now = time.monotonic()
        self._places[followed] = _Place(now + (0.0 if followed.space_id is None else followed.poll_interval), now)
        self._joined = True

    def follows(self, followed: FollowedSpace) -> bool:
        """Whether a space is followed; False once it was found to be removed."""
        return followed in self._places

    def leave(self, followed: FollowedSpace, cut: Callable[[int | None], object] = lambda _: None) -> None:
        """Stop following a space; ``cut`` ends the thread's current call for it, should that not return."""
        self._places.pop(followed, None)
        until = time.monotonic() + PATIENCE
        while self._at is followed and self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(0.01)
            if time.monotonic() > until:
                cut(self._thread.ident)
                until = time.monotonic() + PATIENCE

    def stop(self, cut: Callable[[int | None], object] = lambda _: None) -> None:
        """End the thread and close its connection; ``cut`` ends its current call, should that not return."""
        self._stop.set()
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
        """Wait for a notice, or until a space is due; in short waits, so that a stop is noticed."""
        due_at = 0.0
        self._joined = True
        while not self._stop.is_set():
            now = time.monotonic()
            if self._joined:
                self._joined = False
                due_at = min((place.next_look for place in list(self._places.values())), default=math.inf)
            heard = self._listener.wait(min(max(due_at - now, 0.0), STEP))
            self._meanwhile()
            if self._listener.connections != self._connections:  # earlier notices are lost
                self._connections = self._listener.connections
                for place in list(self._places.values()):
                    place.next_signal = 0.0
            if heard:
                self._hear(heard)
                return
            if due_at <= now:
                return

    def _hear(self, heard: Collection[Notice]) -> None:
        """Make the announced spaces due now."""
        now = time.monotonic()
        versions = {notice.space_id for notice in heard if not notice.of_candidates}
        candidates = {notice.space_id for notice in heard if notice.of_candidates}
        for followed, place in list(self._places.items()):
            space = followed.space_id
            if space in versions:
                place.next_look = place.next_signal = 0.0
            elif space in candidates:
                place.announced = max(now, place.last_signal + CANDIDATES_EVERY)
                place.next_look = min(place.next_look, place.announced)

    def _round(self) -> None:
        """Poll every due space; spaces due a little later join the same statement."""
        now = time.monotonic()
        due = [
            (followed, place)
            for followed, place in list(self._places.items())
            if place.next_look <= now + min(followed.poll_interval, BEAT_EVERY) / 2  # so that all share statements soon
        ]
        if not any(place.next_look <= now for _, place in due):
            return
        attached = [(followed, place) for followed, place in due if followed.space_id is not None]
        if attached:
            self._look_at(attached, now)
        self._attach([(followed, place) for followed, place in due if followed.space_id is None], now)

    def _look_at(self, due: Sequence[tuple[FollowedSpace, _Place]], now: float) -> None:
        """Ask the database once, and pass each space its result."""
        spaces: set[int] = set()
        asking: set[int] = set()
        for followed, place in due:
            if followed.space_id is not None:
                spaces.add(followed.space_id)
                if min(place.next_signal, place.announced) <= now:
                    asking.add(followed.space_id)
        beating = [(followed, place) for followed, place in due if place.next_beat <= now]
        sent_at = time.time()
        heard = self._look(sorted(spaces), sorted(asking), [followed.beat() for followed, _ in beating])
        answered_at = time.time()
        self.last_contact, self._away_said = time.monotonic(), False
        for _, place in beating:
            place.next_beat = now + BEAT_EVERY
        # With notices, fewer polls are needed.
        every = BEAT_EVERY if self._listener.hears else 0.0
        for followed, place in due:
            if followed.space_id in asking:
                place.last_signal, place.next_signal, place.announced = now, now + every, math.inf
            place.next_look = min(now + followed.poll_interval, place.announced)
        told = {followed for followed, _ in beating}
        for followed, place in due:
            space = followed.space_id
            # A thousand idle spaces hardly ever have news, and each call has its price.
            news = space in asking or heard.live.get(space or 0) != place.told
            if news or followed in told or followed.wants_every_look:
                self._tell(followed, place, heard, (sent_at, answered_at))

    def _tell(self, followed: FollowedSpace, place: _Place, heard: RollCall, asked: tuple[float, float]) -> None:
        """Pass a space its result; its failure is counted, logged once, and stops no other space."""
        self._at = followed
        try:
            if followed not in self._places:
                return
            if followed.space_id not in heard.live:
                log.error("space number %s was removed: it is not followed any more", followed.space_id)
                self._places.pop(followed, None)
                return
            place.told = None
            if followed.hear(heard, *asked):
                place.told = heard.live[followed.space_id]
            else:
                place.next_look = time.monotonic() + STEP
                place.next_signal = 0.0
            place.failing = ""
        except DatabaseUnavailable:
            place.next_look = place.next_signal = 0.0
            raise
        except Exception as exc:
            followed.count_failure()
            if place.failing != type(exc).__name__:
                log.exception("following the live version failed; this server goes on with what it serves")
            place.failing = type(exc).__name__
        finally:
            self._at = None

    def _attach(self, late: Sequence[tuple[FollowedSpace, _Place]], now: float) -> None:
        """Attach spaces that were opened without the database, longest waiting first."""
        for followed, place in sorted(late, key=lambda item: item[1].next_look):
            if self._stop.is_set() or time.monotonic() > now + ATTACH_FOR:
                return
            place.next_look = time.monotonic()  # to the end of the queue, should the database be away
            try:
                self._at = followed
                if followed in self._places:
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
                place.next_look = time.monotonic() + followed.poll_interval
                place.failing, place.pause = "", 0.0
            finally:
                self._at = None

    def _say_away(self, exc: DatabaseError) -> None:
        """Log that the store is away: once an outage, and rate-limited if outages repeat."""
        now = time.monotonic()
        if not self._away_said and now >= self._away_said_at + LOG_EVERY:
            self._away_said, self._away_said_at = True, now
            log.warning("the store is away, serving the last version: %s", exc)
        for followed in list(self._places):
            followed.say_away()
