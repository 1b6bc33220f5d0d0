"""Age of the oldest uncommitted record: a near bound in an outage, behind a slow database, and after rest."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from fix_ingest import Space
from fix_proxy import Proxy

from sona_pg.ingest import Writer
from sona_pg.ingest.backlog_age import BacklogAge
from sona_pg.recorder import HotPath


def test_the_age_grows_through_an_outage_and_ends_with_it() -> None:
    age = BacklogAge(0.0, 0.1)
    assert age.note(100, 100, 50.0) == 0
    assert age.note(105, 100, 60.0) == pytest.approx(0.1)  # the first were recorded after the last look
    assert age.note(900, 100, 660.0) == pytest.approx(600.1)
    assert age.note(900, 900, 661.0) == 0
    assert age.note(901, 900, 9000.0) == pytest.approx(0.1)


def test_a_writer_that_lags_is_not_as_old_as_its_first_mark() -> None:
    age = BacklogAge(0.0, 0.1)
    age.note(10, 0, 10.0)
    assert age.note(500, 9, 40.0) == pytest.approx(30.1)
    assert age.note(510, 10, 41.0) == pytest.approx(31.0)  # the eleventh came after 10 s
    assert age.note(800, 500, 60.0) == pytest.approx(50.0)
    assert age.note(900, 510, 70.0) == pytest.approx(29.0)


@pytest.mark.parametrize("durability", ["memory", "spool"])
def test_records_in_memory_and_in_the_spool_are_counted_with_their_age(
    hot: HotPath, space: Space, open_writer: Callable[..., Writer], record: Callable[..., uuid.UUID], proxy: Proxy,
    durability: str,
) -> None:  # fmt: skip
    writer = open_writer(hot, url=proxy.url, durability=durability)
    writer.flush(10)
    assert (writer.stats().waiting, writer.stats().waiting_seconds) == (0, 0.0)
    proxy.refuse()
    for _ in range(20):
        record(hot)
    first = writer.stats()
    assert first.waiting == 20
    assert 0 < first.waiting_seconds <= writer.stats().waiting_seconds
    proxy.accept()
    writer.flush(20)
    assert (writer.stats().waiting, writer.stats().waiting_seconds) == (0, 0.0)
