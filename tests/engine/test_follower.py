"""The thread that keeps a server current goes on, whatever fails."""

from __future__ import annotations

import threading

import pytest

from sona_pg.engine.follower import Follower
from sona_pg.errors import DatabaseUnavailable, LearningError


class Listener:
    """Announces a version at once, every time; the first wait may fail."""

    def __init__(self, fails: int = 0) -> None:
        self.fails = fails
        self.closed = False

    def wait(self, seconds: float) -> bool:
        if self.fails:
            self.fails -= 1
            raise DatabaseUnavailable("away")
        return True

    def close(self) -> None:
        self.closed = True


def follow(listener: Listener, tick: object, rounds: int) -> Follower:
    """Run a follower until it has refreshed `rounds` times."""
    done = threading.Event()
    count = 0

    def refresh() -> None:
        nonlocal count
        count += 1
        if count >= rounds:
            done.set()

    follower = Follower(listener, 0.01, refresh, tick)  # type: ignore[arg-type]
    follower.start()
    assert done.wait(30)
    follower.stop()
    assert listener.closed
    return follower


@pytest.mark.parametrize("error", [LearningError("no"), ValueError("singular matrix")])
def test_a_failing_cycle_does_not_stop_it(error: Exception) -> None:
    def tick() -> None:
        raise error

    assert follow(Listener(), tick, 3).failures >= 2


def test_a_store_that_is_away_does_not_stop_it() -> None:
    assert follow(Listener(fails=2), lambda: None, 2).last_contact is not None
