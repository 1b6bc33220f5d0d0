"""Pages stop no call of an application, however long what they look for takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from sona_pg.domain.level_change import FactsRevision
from sona_pg.domain.space import Space
from sona_pg.service import page_reads
from sona_pg.store.overview_store import OverviewStore
from sona_pg.store.transactions import reading
from tests.service.conftest import Service

PEOPLE = 12
AT_A_TIME = 4  # reads of pages
LEADERBOARD = "/v1/dashboard/routes?days=30"
VECTOR = [1, 0, 0, 0, 0, 0, 0, 0]


@pytest.fixture
def waiting_people(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Future[httpx.Response]]]:
    """People who have opened the leaderboard, and whose first read holds thread and connection."""
    ends, holding, read = threading.Event(), threading.Semaphore(0), OverviewStore.facts_revision

    def hold(engine: Engine) -> None:
        with reading(engine, "reading slowly"):
            holding.release()
            assert ends.wait(60)

    def slowly(store: OverviewStore, space: Space) -> FactsRevision:
        store._reads.run(hold)
        return read(store, space)

    monkeypatch.setattr(OverviewStore, "facts_revision", slowly)
    with ThreadPoolExecutor(PEOPLE) as people:
        try:
            asked = [people.submit(service.get, LEADERBOARD) for _ in range(PEOPLE)]
            for _ in range(AT_A_TIME):
                assert holding.acquire(timeout=60)
            yield asked
        finally:
            ends.set()
        assert {one.result(60).status_code for one in asked} == {200}


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("POST", "/v1/remember", {"vectors": [VECTOR], "ids": ["x"], "contents": [{"a": 1}]}, {}),
        ("POST", "/v1/recall", {"vector": VECTOR, "k": 1}, {}),
        ("POST", "/v1/search", {"vector": VECTOR, "k": 1}, {}),
        ("GET", "/v1/stats", None, {}),
        ("POST", "/v1/trajectories", {"vector": VECTOR}, {"Idempotency-Key": "once"}),
    ],
)
def test_a_call_is_answered_while_many_people_wait_for_a_page(
    service: Service, waiting_people: list[Any], method: str, path: str, body: Any, headers: dict[str, str]
) -> None:
    answer = service.ask(method, path, json=body, headers=headers)
    assert answer.status_code // 100 == 2, answer.text
    assert not any(one.done() for one in waiting_people)


def test_a_page_that_gives_up_is_answered_when_it_asks_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    ends, find, begun = threading.Event(), OverviewStore.route_changes, []

    def slowly(store: OverviewStore, *asked: Any) -> Any:
        begun.append(asked)
        assert ends.wait(60)
        return find(store, *asked)

    monkeypatch.setattr(OverviewStore, "route_changes", slowly)
    with monkeypatch.context() as hurried:
        hurried.setattr(page_reads, "PATIENCE", 0.0)
        refused = service.get("/v1/dashboard/routes?days=77")
    ends.set()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
    assert "goes on: ask again" in refused.json()["detail"]
    assert service.get("/v1/dashboard/routes?days=77").status_code == 200
    assert len(begun) == 1


@pytest.fixture
def nothing_left(service: Service) -> Iterator[None]:
    """All connections of the application's calls are in use."""
    pool = service.engine._session.database.engine.pool
    with ExitStack() as held:
        for _ in range(pool.size() + pool._max_overflow - pool.checkedout()):
            held.callback(pool.connect().close)
        yield


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/dashboard/facts", {"vector": VECTOR}),
        ("POST", "/v1/dashboard/answers", {"vector": VECTOR, "versions": [0]}),
        ("GET", "/v1/dashboard/changes?days=30", None),
    ],
)
def test_a_page_is_answered_while_calls_use_all_of_their_connections(
    service: Service, nothing_left: None, method: str, path: str, body: Any
) -> None:
    answer = service.ask(method, path, json=body)
    assert answer.status_code == 200, answer.text


def test_finds_of_one_space_leave_the_pages_of_others_alone(
    service: Service, space: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    large, other = space(), space()
    ends, find = threading.Event(), OverviewStore.route_changes

    def slowly(store: OverviewStore, of: Space, *asked: Any) -> Any:
        if of.name == large:
            assert ends.wait(60)
        return find(store, of, *asked)

    monkeypatch.setattr(OverviewStore, "route_changes", slowly)
    periods = [f"/v1/dashboard/routes?days={days}&space={large}" for days in (30, 31, 32)]
    with monkeypatch.context() as hurried:
        hurried.setattr(page_reads, "PATIENCE", 0.0)
        assert {service.get(one).status_code for one in periods} == {503}
    try:
        monkeypatch.setattr(page_reads, "PATIENCE", 10.0)
        assert service.get(f"/v1/dashboard/routes?days=30&space={other}").status_code == 200
    finally:
        ends.set()
    assert {service.get(one).status_code for one in periods} == {200}
