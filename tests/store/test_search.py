"""Searching the ledger: sealed and hot weeks, filters, limits, and partitions that go away meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
from fix_ledger import NOW, Ledger, weeks_ago
from numpy.typing import NDArray

from sona_pg.config import MaintenanceConfig
from sona_pg.domain.space import Space
from sona_pg.store import search
from sona_pg.store.admin.maintenance import Maintenance

pytestmark = pytest.mark.every_server

DIM = 16
K = 10


@pytest.fixture(autouse=True)
def small_spaces_use_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "ALWAYS_EXACT", 100)
    monkeypatch.setattr(search, "COSTLIER", 0)


def vectors(n: int, seed: int, dim: int = DIM) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def seal(ledger: Ledger) -> None:
    done = list(Maintenance(ledger.database.engine, MaintenanceConfig(memory_mb=64), lambda: NOW).run())
    assert "later" not in {thing.action for thing in done}


def brute_force(query: NDArray[np.float32], rows: NDArray[np.float32], ids: Sequence[UUID], k: int = K) -> list[UUID]:
    stored = rows.astype(np.float16).astype(np.float64)
    unit = (query / np.linalg.norm(query)).astype(np.float16).astype(np.float64)
    similarity = stored @ unit / np.linalg.norm(stored, axis=1) / np.linalg.norm(unit)
    return [ids[row] for row in np.argsort(-similarity, kind="stable")[:k]]


@pytest.fixture
def three_weeks(ledger: Ledger) -> tuple[Space, NDArray[np.float32], list[UUID]]:
    """A space with two sealed weeks and the hot one."""
    space = ledger.space("three weeks", DIM)
    rows, ids = vectors(1500, 1), []
    for number, ago in enumerate((3, 2, 0)):
        ledger.ensure(weeks_ago(ago))
        ids += ledger.fill(space, rows[500 * number : 500 * (number + 1)], weeks_ago(ago))
    seal(ledger)
    return space, rows, ids


def test_a_search_across_sealed_and_hot_weeks_equals_brute_force(
    ledger: Ledger, three_weeks: tuple[Space, NDArray[np.float32], list[UUID]]
) -> None:
    space, rows, ids = three_weeks
    assert sorted(ledger.indexes()) == ["trajectories_w20261026_d16_hnsw", "trajectories_w20261102_d16_hnsw"]
    hits = 0
    for query in vectors(20, 2):
        truth = brute_force(query, rows, ids)
        exact = ledger.database.search(space, query, K, exact=True)
        assert [found.id for found in exact] == truth
        assert exact.complete
        hits += len(set(truth) & {found.id for found in ledger.database.search(space, query, K)})
    assert hits / (20 * K) >= 0.97  # HNSW is approximate; the hot third is not
    assert [found.id for found in ledger.database.search(space, query, 2000)] == brute_force(query, rows, ids, 2000)


@pytest.mark.not_on_citus("workers count the scans of their shards' indexes")
def test_a_sealed_week_is_searched_by_its_index(
    ledger: Ledger, three_weeks: tuple[Space, NDArray[np.float32], list[UUID]]
) -> None:
    space, rows, _ = three_weeks
    scans = "SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes WHERE indexrelname LIKE '%%\\_hnsw'"
    for _ in range(3):
        ledger.database.search(space, rows[0], K)
    ledger.database.engine.dispose()  # a backend reports its statistics when it ends, soon after
    until = time.monotonic() + 10
    while ledger.rows(scans)[0][0] < 6 and time.monotonic() < until:
        time.sleep(0.05)
    assert ledger.rows(scans)[0][0] >= 6


def test_results_have_similarity_route_query_time_and_current_quality(ledger: Ledger) -> None:
    space = ledger.space("told", DIM)
    rows = vectors(2, 3)
    first, second = ledger.fill(space, rows, weeks_ago(0), route="a", qualities=[0.25, 0.5])
    ledger.execute(
        "INSERT INTO sona.feedback (space_id, quality, trajectory_id, sequence, batch, recorded_at, source)"
        " VALUES (%s, 1.0, %s, 1, 1, %s, 'user'), (%s, 0.5, %s, 1, 1, %s, 'judge')",
        space.space_id, first, NOW, space.space_id, first, NOW,
    )  # fmt: skip
    found = ledger.database.search(space, 3 * rows[0], 2)
    assert [(item.id, item.route, item.query, item.quality) for item in found] == [
        (first, "a", "query 0", 0.75),
        (second, "a", "query 1", 0.5),
    ]
    assert found[0].similarity == pytest.approx(1, abs=1e-3)
    assert found[0].started_at == weeks_ago(0)
    assert [item.id for item in ledger.database.search(space, rows[0], 2, min_quality=0.7)] == [first]


def test_a_small_space_among_large_ones_gets_all_its_k(ledger: Ledger) -> None:
    large, small = ledger.space("large", DIM), ledger.space("small", DIM)
    ledger.ensure(weeks_ago(2))
    ledger.fill(large, vectors(5000, 4), weeks_ago(2), route="often")
    mine = -np.abs(vectors(150, 5))  # far from what is asked: the graph leads elsewhere
    ids = ledger.fill(small, mine, weeks_ago(2), route="rare")
    seal(ledger)
    query = np.abs(vectors(1, 6)[0])
    found = ledger.database.search(small, query, K)
    assert [item.id for item in found] == brute_force(query, mine, ids)
    assert found.complete


def test_filters_do_not_leave_a_search_short(
    ledger: Ledger, three_weeks: tuple[Space, NDArray[np.float32], list[UUID]]
) -> None:
    space, _, ids = three_weeks
    rare = vectors(12, 7)
    extra = ledger.fill(space, rare, weeks_ago(2) + timedelta(days=1), route="rare", qualities=[0.9] * 12)
    query = -rare[0]
    by_route = ledger.database.search(space, query, K, route="rare")
    assert [item.id for item in by_route] == brute_force(query, rare, extra)
    assert by_route.complete
    assert len(ledger.database.search(space, query, 20, min_quality=0.8)) == 12
    late = ledger.database.search(space, query, 600, since=weeks_ago(0))
    assert {item.id for item in late} == set(ids[1000:])


def test_a_search_that_stopped_at_the_scan_limit_is_marked_incomplete(
    ledger: Ledger, three_weeks: tuple[Space, NDArray[np.float32], list[UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    space, rows, _ = three_weeks
    few = tuple(told.replace("20000", "1").replace("128", "1") for told in search.SETTINGS)
    monkeypatch.setattr(search, "SETTINGS", few)
    again = ledger.database.search(space, rows[0], 400)
    assert (len(again), again.complete) == (400, True)  # scanned exactly instead
    monkeypatch.setattr(search, "AGAIN_EXACT", 10)
    assert ledger.database.search(space, rows[0], 400).complete is False


def test_a_partition_dropped_while_searches_run_changes_no_answer(
    ledger: Ledger, three_weeks: tuple[Space, NDArray[np.float32], list[UUID]]
) -> None:
    space, rows, ids = three_weeks
    kept = dict(zip(ids[500:], rows[500:], strict=True))
    queries = vectors(8, 8)
    truth = [brute_force(query, np.array(list(kept.values())), list(kept)) for query in queries]
    failures: list[object] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for query, expected in zip(queries, truth, strict=True):
                try:
                    # week 3 comes and goes empty of this query's answers, so that there is one right answer
                    found = [f.id for f in ledger.database.search(space, query, K, exact=True) if f.id in kept]
                    if found != expected:
                        failures.append((found, expected))
                except Exception as exc:  # noqa: BLE001 - handed to the test's own thread
                    failures.append(exc)

    drop = MaintenanceConfig(keep_weeks=2)
    threads = [threading.Thread(target=look) for _ in range(3)]
    list(Maintenance(ledger.database.engine, drop, lambda: NOW).run())
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            ledger.ensure(weeks_ago(3))
            gone = list(Maintenance(ledger.database.engine, drop, lambda: NOW).run())
            assert {done.action for done in gone} <= {"dropped", "later"}
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_rows_that_move_into_their_partition_are_found_all_the_time(ledger: Ledger) -> None:
    space = ledger.space("moving", DIM)
    rows = vectors(700, 13)
    for number in range(7):
        ledger.fill(space, rows[100 * number : 100 * (number + 1)], weeks_ago(5 + number))
    lengths: set[object] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            try:
                lengths.update(
                    len(ledger.database.search(space, rows[0], 1000, exact=exact)) for exact in (True, False)
                )
            except Exception as exc:  # noqa: BLE001 - handed to the test's own thread
                lengths.add(repr(exc))

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):  # weeks that a reader kept from moving are left for the next run
            done = list(Maintenance(ledger.database.engine, MaintenanceConfig(memory_mb=64), lambda: NOW).run())
            if not done:
                break
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert lengths == {700}
    assert ledger.rows("SELECT count(*) FROM sona.trajectories_rest") == [(0,)]


@pytest.mark.parametrize("dim", [1, 2000, 4000, 4001])
def test_every_dimension_is_searched(ledger: Ledger, dim: int) -> None:
    space = ledger.space("wide", dim)
    ledger.ensure(weeks_ago(2))
    rows = np.abs(vectors(150, 9, dim)) if dim == 1 else vectors(150, 9, dim)
    ids = ledger.fill(space, rows, weeks_ago(2))
    seal(ledger)
    found = ledger.database.search(space, rows[7], 5)
    assert found.complete
    assert len(found) == 5
    assert found[0].similarity == pytest.approx(1, abs=2e-3)
    if dim > 1:
        assert found[0].id == ids[7]


def test_a_zero_vector_and_another_dimension_in_the_ledger_disturb_no_search(ledger: Ledger) -> None:
    space = ledger.space("mixed", DIM)
    ledger.ensure(weeks_ago(2))
    rows = vectors(200, 10)
    for at in (weeks_ago(2), weeks_ago(0)):
        ledger.fill(space, rows, at)
        ledger.fill(space, np.zeros((3, DIM), np.float32), at + timedelta(hours=1))
        ledger.fill(space, vectors(3, 11, 5), at + timedelta(hours=2))
    seal(ledger)
    for exact in (True, False):
        assert len(ledger.database.search(space, rows[0], 1000, exact=exact)) == 400


def test_an_empty_space_is_searched_in_vain(ledger: Ledger) -> None:
    found = ledger.database.search(ledger.space("empty", DIM), vectors(1, 12)[0], 5)
    assert (list(found), found.complete) == ([], True)


@pytest.mark.parametrize("told", [0.7, 0.1])
def test_a_quality_reaches_itself(ledger: Ledger, told: float) -> None:
    space = ledger.space("reaches", DIM)
    rows = vectors(1, 3)
    [only] = ledger.fill(space, rows, weeks_ago(0), qualities=[told])
    assert [item.id for item in ledger.database.search(space, rows[0], 2, min_quality=told)] == [only]
    assert not ledger.database.search(space, rows[0], 2, min_quality=told + 0.001)
