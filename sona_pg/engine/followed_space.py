"""Interface between the follower and an engine's space."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from sona_pg.domain.budget import Budget
from sona_pg.domain.gate import Canary
from sona_pg.engine.spending_feed import SpendingFeed
from sona_pg.serving.access_counter import AccessCounter
from sona_pg.store.roll_call import Beat, RollCall, Signal


class ClockReading(NamedTuple):
    """The database's clock, read between two readings of this machine's."""

    before: float  # seconds since 1970
    at: datetime
    after: float
    monotonic: float  # this machine's monotonic clock, then

    @property
    def uncertainty(self) -> float:
        """Seconds that ``ahead`` may be wrong by."""
        return abs(self.after - self.before) / 2

    @property
    def offset(self) -> float:
        """The database's clock from this machine's monotonic one, which nobody sets."""
        return self.after - self.ahead - self.monotonic

    @property
    def ahead(self) -> float:
        """Seconds by which this machine's clock is ahead."""
        return (self.before + self.after) / 2 - self.at.timestamp()


class Heard(NamedTuple):
    """Result of a poll for one space."""

    live: int  # version
    name: str  # of the space
    budget: Budget | None  # of the space
    canary: Canary | None  # a candidate that some servers serve
    signal: Signal | None  # None: not read
    forgotten: bool  # whether the row of this server was deleted
    clock: ClockReading


class FollowedSpace(Protocol):
    """Interface of one engine's space for the follower."""

    @property
    def poll_interval(self) -> float: ...

    @property
    def space_id(self) -> int | None:
        """The space's number; None until the database has answered."""

    @property
    def made_at(self) -> datetime | None:
        """When the space was made: another one may have its number after a restore."""

    @property
    def wants_every_look(self) -> bool:
        """Whether polls without news are wanted as well; the space says so with ``Follower.attend``."""

    def attach_late(self) -> None:
        """Complete an opening without the database."""

    def beat(self) -> Beat: ...

    @property
    def accesses(self) -> AccessCounter:
        """The counts of patterns found here."""

    @property
    def spending(self) -> SpendingFeed:
        """What is spent here under the space's budget."""

    def hear(self, heard: Heard) -> bool:
        """Apply the result of a poll; False: it is being refreshed, and must be polled again."""

    def lose(self) -> None:
        """Stop: the store was replaced, and the space's number is another one's."""

    def note_judged(self, batch: int) -> None:
        """Note that a batch was committed in which something is judged."""

    def read_judged(self) -> bool:
        """Read the batches that were noted; False: it is being refreshed, and must be asked again."""

    def say_away(self) -> None:
        """Warn of lost records while the database is away."""

    def count_failure(self) -> None: ...


def is_another(followed: FollowedSpace, heard: RollCall) -> bool:
    """Whether a space's number is that of another space, after a restore."""
    known = followed.made_at
    return known is not None and heard.made.get(followed.space_id or 0, known) != known
