"""Evidence is taken up at once, unless that is all a server would do."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sona_pg.serving import uptake


class Clocks(SimpleNamespace):
    wall = 0.0
    work = 0.0

    def monotonic(self) -> float:
        return self.wall

    def thread_time(self) -> float:
        return self.work


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(uptake, "time", clocks)
    monkeypatch.setattr(uptake, "AT_ONCE", 0.2)
    return clocks


def test_news_counts_at_once_until_it_takes_more_than_its_share(clocks: Clocks) -> None:
    bucket = uptake.Uptake()
    for _ in range(2):
        assert bucket.is_due()
        with bucket:
            clocks.work += 0.15
    assert not bucket.is_due()  # 0.1 seconds too many: 2 seconds at a share of 5 %
    clocks.wall += 1.9
    assert not bucket.is_due()
    clocks.wall += 0.2
    assert bucket.is_due()


def test_waiting_for_the_processor_is_no_work(clocks: Clocks) -> None:
    bucket = uptake.Uptake()
    for _ in range(100):
        assert bucket.is_due()
        with bucket:
            clocks.wall += 1.0
