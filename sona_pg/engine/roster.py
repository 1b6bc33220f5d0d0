"""The spaces of a follower, in groups that are polled together."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from sona_pg.domain.budget import Budget
from sona_pg.domain.gate import Canary
from sona_pg.engine.followed_space import FollowedSpace, is_another
from sona_pg.store.roll_call import Beats, RollCall, Signal, SpaceIds

BEAT_EVERY = 5.0  # seconds between heartbeats; a server counts as gone after three times as long
JUDGED_EVERY = 0.2  # seconds between reads of announced batches in which something is judged
SETTLE_IN = 0.25  # seconds from a new version to the poll with its heartbeat: all servers take the version up at once
CANDIDATES_EVERY = 1.0  # seconds between reads of announced candidates: every server with new ones announces them


@dataclass(eq=False, slots=True)
class Place:
    """Schedule of a space's polls; all times are monotonic seconds."""

    followed: FollowedSpace
    next_look: float = math.inf  # before that of its group
    next_signal: float = 0.0  # earliest time to read announced candidates
    # Live version, name, budget and canary last passed to the space.
    told: tuple[int, str, Budget | None, Canary | None] | None = None
    next_judged: float = 0.0  # earliest time to read announced batches in which something is judged
    signal: Signal | None = None  # last passed to the space
    pause: float = 0.0  # pause after a refused attempt to attach
    failing: str = ""  # kind of the last failure, until a success


@dataclass(eq=False, slots=True)
class Group:
    """Spaces of about one poll interval: one statement polls all of them."""

    pace: float  # seconds between polls
    next_look: float
    next_beat: float = 0.0
    next_signal: float = 0.0  # read new candidates
    places: list[Place] = field(default_factory=list)
    spaces: SpaceIds = field(default_factory=lambda: SpaceIds.of(()))
    beats: Beats | None = None  # as last sent; None: something in them has changed
    # Of the last poll whose result was passed to all spaces; None: there is none.
    digest: str | None = None
    signals_digest: str | None = None

    def hold(self, places: list[Place]) -> None:
        """Consist of ``places``."""
        if places == self.places:
            return
        self.places = places
        self.spaces = SpaceIds.of(place.followed.space_id or 0 for place in places)
        self.beats = self.digest = self.signals_digest = None

    def holds(self, place: Place) -> bool:
        """Whether a place belongs to the group."""
        return place.followed.space_id is not None and _pace(place.followed.poll_interval) == self.pace

    def heartbeats(self) -> Beats:
        """Return the heartbeats of all."""
        if self.beats is None:
            self.beats = Beats.of(place.followed.beat() for place in self.places)
        return self.beats


class Roster:
    """All spaces of a follower.

    Its thread arranges them. ``join``, ``leave`` and ``attend`` may be called by any thread and by handlers of signals:
    what they change is changed by single operations.
    """

    def __init__(self) -> None:
        """Start with none."""
        self.places: dict[FollowedSpace, Place] = {}
        self.groups: dict[float, Group] = {}
        self.early: set[Place] = set()  # to be looked at before their group, or not attached yet
        self.judged: dict[Place, float] = {}  # when to read announced batches; of the thread alone
        self._restless: dict[FollowedSpace, None] = {}
        self._spending: dict[FollowedSpace, None] = {}  # those with a budget
        self._by_space: dict[int, list[Place]] = {}
        self._changed = False

    def join(self, followed: FollowedSpace, now: float) -> bool:
        """Add a space; return whether it may be due before the thread wakes by itself."""
        self.places[followed] = Place(followed, math.inf if followed.space_id is not None else now)
        self._changed = True
        return followed.space_id is None or _pace(followed.poll_interval) not in self.groups

    def leave(self, followed: FollowedSpace) -> None:
        """Remove a space."""
        self.places.pop(followed, None)
        self._restless.pop(followed, None)
        self._spending.pop(followed, None)
        self._changed = True

    def pace(self, followed: FollowedSpace) -> None:
        """Report a space's spending with every poll, and hear that of other servers."""
        self._spending[followed] = None

    def spending(self, group: Group) -> list[FollowedSpace]:
        """Return the spaces of a group that spend under a budget."""
        return [known for known in list(self._spending) if known in self.places and group.holds(self.places[known])]

    def attend(self, followed: FollowedSpace) -> None:
        """Pass the result of the next poll to a space, news or not; see ``FollowedSpace.wants_every_look``."""
        self._restless[followed] = None

    def rearrange(self) -> None:
        """Form the groups anew: a space was attached."""
        self._changed = True

    def arrange(self, now: float) -> None:
        """Form the groups anew, if spaces have come or gone."""
        if not self._changed:
            return
        self._changed = False  # first: later changes are seen the next time
        members: dict[float, list[Place]] = {}
        self._by_space = {}
        early = {place for place in self.early if self.places.get(place.followed) is place}
        for place in list(self.places.values()):
            space = place.followed.space_id
            if space is None:
                early.add(place)
                continue
            members.setdefault(_pace(place.followed.poll_interval), []).append(place)
            self._by_space.setdefault(space, []).append(place)
        self.early = early
        self.groups = {pace: self.groups.get(pace) or Group(pace, now + pace) for pace in members}
        for pace, places in members.items():
            self.groups[pace].hold(places)

    def next_look(self) -> float:
        """Return when the next space is due."""
        dues = [
            *(group.next_look for group in self.groups.values()),
            *(place.next_look for place in self.early),
            *self.judged.values(),
        ]
        return min(dues, default=math.inf)

    def due(self, now: float) -> tuple[list[Group], list[Place]]:
        """Return due groups and single spaces; groups due a little later join them."""
        early = [place for place in self.early if place.next_look <= now]
        due = [group for group in self.groups.values() if group.next_look <= now]
        if due:
            due = [
                group for group in self.groups.values() if group.next_look <= now + min(group.pace, BEAT_EVERY) / 2
            ]  # fmt: skip
        return due, early

    def restless(self) -> list[Place]:
        """Return the spaces given to ``attend``."""
        return [place for known in list(self._restless) if (place := self.places.get(known)) is not None]

    def calm(self, place: Place) -> None:
        """Pass only news to a space, unless it wants every poll."""
        self._restless.pop(place.followed, None)  # first: another thread may call ``attend`` meanwhile
        if place.followed.wants_every_look:
            self._restless[place.followed] = None

    def renew_heartbeats(self, place: Place) -> None:
        """Build the heartbeats of a space's group anew: it serves another version."""
        group = self.groups.get(_pace(place.followed.poll_interval))
        if group is not None:
            group.beats = None

    def settle(self, place: Place, now: float) -> None:
        """Poll a space's group soon, with heartbeats: it serves another version."""
        group = self.groups.get(_pace(place.followed.poll_interval))
        if group is not None:
            group.next_beat, group.next_look = 0.0, min(group.next_look, now + SETTLE_IN)

    def look_early(self, place: Place, at: float) -> None:
        """Poll a space before its group is due."""
        place.next_look = min(place.next_look, at)
        self.early.add(place)

    def looked(self, places: Iterable[Place]) -> None:
        """Mark single spaces as polled."""
        for place in places:
            place.next_look = math.inf
            self.early.discard(place)

    def announce(self, space_id: int, now: float, *, of_candidates: bool) -> None:
        """Make the engines of a space due now; for candidates at most once a second."""
        for place in self._by_space.get(space_id, ()):
            self.look_early(place, max(now, place.next_signal) if of_candidates else now)

    def announce_judged(self, space_id: int, batch: int, now: float) -> None:
        """Make the engines of a space read a batch, at most five times a second."""
        for place in self._by_space.get(space_id, ()):
            place.followed.note_judged(batch)
            self.judged.setdefault(place, max(now, place.next_judged))

    def due_judged(self, now: float) -> list[Place]:
        """Return the spaces that are to read announced batches now."""
        due = [place for place, at in self.judged.items() if at <= now]
        for place in due:
            del self.judged[place]
            place.next_judged = now + JUDGED_EVERY
        return due

    def look_at_candidates(self) -> None:
        """Read the candidates of all spaces with the next poll: notices may be lost."""
        for group in self.groups.values():
            group.next_signal = 0.0


def _pace(poll_interval: float) -> float:
    """Return the seconds between polls: a power of two, so that many intervals make few groups."""
    return float(2.0 ** math.floor(math.log2(poll_interval)))


def said_of(space: int, heard: RollCall) -> tuple[str, Budget | None, Canary | None]:
    """Return name, budget and canary of a space."""
    return heard.names.get(space, ""), heard.budgets.get(space), heard.canaries.get(space)


def is_news(place: Place, heard: RollCall) -> bool:
    """Whether a result differs from the one that was passed to the space last."""
    space = place.followed.space_id or 0
    if heard.live is not None:
        told = (heard.live.get(space), *said_of(space, heard))
        if told != place.told or is_another(place.followed, heard):
            return True
    if heard.signals is not None and heard.signals.get(space) != place.signal:
        return True
    return bool(heard.unknown) and place.followed.beat().server_id in heard.unknown
