"""The follower survives every failure, and polls all spaces at once."""

from __future__ import annotations

import itertools
import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from sona_pg.domain.pattern import PatternUse
from sona_pg.engine import follower as module
from sona_pg.engine.followed_space import Heard
from sona_pg.engine.follower import Follower
from sona_pg.errors import ConfigError, DatabaseUnavailable
from sona_pg.serving.access_counter import AccessCounter
from sona_pg.store.notify import Notice
from sona_pg.store.roll_call import Beat, Look, RollCall

pytestmark = pytest.mark.no_vectors


class Listener:
    """Sends a test's notices; the first waits may fail."""

    def __init__(self, *heard: Notice, fails: int = 0) -> None:
        self.heard = list(heard)
        self.fails = fails
        self.hears = True
        self.connections = 1
        self.closed = False

    def wait(self, seconds: float) -> Sequence[Notice]:
        if self.fails:
            self.fails -= 1
            raise DatabaseUnavailable("away")
        heard, self.heard = self.heard, []
        if not heard:
            threading.Event().wait(min(seconds, 0.002))
        return heard

    def wake(self) -> None: ...

    def close(self) -> None:
        self.closed = True


class Space:
    """A space that counts its polls."""

    def __init__(self, space_id: int | None, poll: float = 0.01, fails: Callable[[int], None] = lambda _: None) -> None:
        self.space_id = space_id
        self.made_at: datetime | None = None
        self.lost = False
        self.poll_interval = poll
        self.wants_every_look = False
        self.fails = fails
        self.heard: list[Heard] = []
        self.failures = 0
        self.attempts = 0
        self.enough = threading.Event()
        self.accesses = AccessCounter()

    def attach_late(self) -> None:
        self.attempts += 1
        self.fails(self.attempts)
        self.space_id = 100

    def beat(self) -> Beat:
        assert self.space_id is not None
        return Beat(self.space_id, uuid.uuid4(), 1)

    def hear(self, heard: Heard) -> bool:
        self.heard.append(heard)
        if len(self.heard) >= 3:
            self.enough.set()
        self.fails(len(self.heard))
        return True

    def say_away(self) -> None: ...

    def lose(self) -> None:
        self.lost = True

    def count_failure(self) -> None:
        self.failures += 1


class Looks:
    """Answers polls, and records them."""

    def __init__(self, away: Callable[[int], bool] = lambda _: False) -> None:
        self.away = away
        self.calls: list[Look] = []
        self.gone: set[int] = set()
        self.made: dict[int, datetime] = {}
        self.news = True  # each poll returns another version

    def __call__(self, look: Look) -> RollCall:
        self.calls.append(look)
        if self.away(len(self.calls)):
            raise DatabaseUnavailable("no connection is left")
        version = len(self.calls) if self.news else 1
        live = {space: version for space in look.spaces.ids if space not in self.gone}
        answer = RollCall(
            datetime.now(UTC), live, dict.fromkeys(live, "name"), self.made, digest=f"{version} {len(live)}"
        )
        if look.is_news:
            return answer._replace(signals=dict.fromkeys(look.spaces.ids, (0, 0)), digest=None)
        if look.signals is not None:
            answer = answer._replace(signals=dict.fromkeys(look.signals.ids, (0, 0)), signals_digest="none")
        if look.known == answer.digest:
            answer = answer._replace(live=None)
        return answer


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY", (0.001, 0.001))


def follow(listener: Listener, looks: Looks, *spaces: Space) -> Follower:
    """Follow until each of `spaces` has been polled three times."""
    follower = Follower(listener, looks)
    for space in spaces:
        follower.join(space)
    follower.start()
    for space in spaces:
        assert space.enough.wait(20)
    follower.stop()
    assert listener.closed
    return follower


def mistake(_: int) -> None:
    raise KeyError("an array")


def test_a_failing_space_stops_no_other_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    broken, sound = Space(1, fails=mistake), Space(2)
    follow(Listener(), Looks(), broken, sound)
    assert broken.failures >= 3
    assert sound.failures == 0
    assert len([entry for entry in caplog.records if "following the live version failed" in entry.message]) == 1


def test_a_store_that_is_away_does_not_stop_it() -> None:
    follow(Listener(fails=2), Looks(), Space(1))


def test_repeated_outages_of_a_store_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        follow(Listener(), Looks(lambda call: bool(call % 2)), *(Space(number) for number in range(20)))
    assert [entry.message for entry in caplog.records] == [
        "the store is away, serving the last version: no connection is left"
    ]


def test_fifty_spaces_are_polled_by_one_statement() -> None:
    looks, spaces = Looks(), [Space(number, poll=0.05) for number in range(50)]
    looks.news = False
    for space in spaces:
        space.wants_every_look = True
    follow(Listener(), looks, *spaces)
    assert len(looks.calls) <= 10
    assert sum(len(look.beats) for look in looks.calls if look.beats) == 50  # once each, not with every poll


def test_a_new_version_is_reported_by_the_next_poll_without_a_statement_of_its_own() -> None:
    looks = Looks()
    follow(Listener(), looks, Space(1, poll=0.001))
    beats = [look.beats is not None for look in looks.calls]
    assert beats[:3] == [True, False, True]  # the second poll found another version than the first


def test_accesses_of_patterns_are_sent_together_with_a_heartbeat_and_again_if_that_failed(monkeypatch) -> None:
    pattern, counted, attempts = uuid.uuid4(), [], itertools.count()

    def count(found):
        if next(attempts) == 0:
            raise DatabaseUnavailable("away")
        counted.append({space: dict(counts) for space, counts in found.items()})
        return {space: {pattern: PatternUse(None, counts[pattern])} for space, counts in found.items()}

    monkeypatch.setattr(module, "BEAT_EVERY", 0.01)
    spaces = [Space(1), Space(1), Space(2)]  # two engines of one space
    follower = Follower(Listener(), Looks(), count=count)
    for space in spaces:
        space.accesses.give_back({pattern: 2})
        follower.join(space)
    follower.start()
    while not all(space.accesses.known for space in spaces):
        threading.Event().wait(0.001)
    follower.stop()
    assert counted == [{1: {pattern: 4}, 2: {pattern: 2}}]
    assert [space.accesses.known[pattern].access_count for space in spaces] == [4, 4, 2]


def test_a_space_without_news_is_left_alone() -> None:
    looks, idle = Looks(), Space(1, poll=0.001)
    looks.news = False
    follower = Follower(Listener(), looks)
    follower.join(idle)
    follower.start()
    while len(looks.calls) < 20:
        threading.Event().wait(0.001)
    follower.stop()
    assert len(idle.heard) == 1


def test_a_space_that_was_removed_is_followed_no_more(caplog: pytest.LogCaptureFixture) -> None:
    looks, removed, other = Looks(), Space(1), Space(2)
    looks.gone = {1}
    follower = Follower(Listener(), looks)
    for space in (removed, other):
        follower.join(space)
    follower.start()
    assert other.enough.wait(20)
    follower.stop()
    assert removed.heard == []
    assert len([entry for entry in caplog.records if "was removed" in entry.message]) == 1


def test_a_space_whose_number_another_one_has_since_a_restore_stops() -> None:
    looks, replaced, other = Looks(), Space(1), Space(2)
    looks.news = False
    replaced.made_at, looks.made = datetime(2026, 1, 1, tzinfo=UTC), {1: datetime(2026, 1, 2, tzinfo=UTC)}
    follower = Follower(Listener(), looks)
    for space in (replaced, other):
        follower.join(space)
    follower.start()
    while not (other.heard and replaced.lost):
        threading.Event().wait(0.001)
    follower.stop()
    assert replaced.heard == []
    assert not follower.follows(replaced)


def test_a_notice_is_followed_at_once() -> None:
    announced, other = Space(1, poll=60.0), Space(2, poll=60.0)
    listener, looks = Listener(Notice(1, of_candidates=False)), Looks()
    follower = Follower(listener, looks)
    follower.join(announced), follower.join(other)
    follower.start()
    while not announced.heard:
        listener.wait(0.001)
    follower.stop()
    assert other.heard == []
    assert (looks.calls[0].spaces.ids, looks.calls[0].is_news) == ((1,), True)
    assert announced.heard[0].signal == (0, 0)


def test_spaces_opened_without_the_store_ask_for_it_one_at_a_time() -> None:
    """While it is away each round costs one attempt, however many wait; then all of them are opened."""
    attempts = itertools.count(1)

    def away(_: int) -> None:
        if next(attempts) <= 7:
            raise DatabaseUnavailable("away")

    late = [Space(None, fails=lambda n: away(n) if n < 8 else None) for _ in range(30)]
    follower = Follower(Listener(), Looks())
    for space in late:
        space.enough.set()
        follower.join(space)
    follower.start()
    until = threading.Event()
    while any(space.space_id is None for space in late):
        until.wait(0.001)
    follower.stop()
    assert max(space.attempts for space in late) <= 2
    assert sum(space.attempts for space in late) == 37


def test_a_space_that_cannot_be_opened_leaves_the_others_their_turn(caplog: pytest.LogCaptureFixture) -> None:
    def unfit(_: int) -> None:
        raise ConfigError("another dimension")

    refused, fine = Space(None, fails=unfit), Space(None)
    follower = Follower(Listener(), Looks())
    follower.join(refused), follower.join(fine)
    follower.start()
    while fine.space_id is None or refused.attempts < 3:
        threading.Event().wait(0.001)
    follower.stop()
    assert [entry.message for entry in caplog.records] == [
        "a space that was opened without its database cannot be opened now: another dimension"
    ]
