"""Spaces that another process renames, removes or makes again while the service has them open."""

from __future__ import annotations

import pytest

from sona_pg import Store
from sona_pg.service import hosted_spaces
from tests.service.conftest import CONFIG, DIM

X = [1.0] + [0.0] * (DIM - 1)


@pytest.fixture(autouse=True)
def _looked_up_each_time(monkeypatch):
    monkeypatch.setattr(hosted_spaces, "NAMED_FOR", 0.0)


@pytest.fixture
def elsewhere(service_url):
    """Another store of the database, as another process has it."""
    with Store(service_url) as store:
        yield store


def bearer(store, name):
    return {"Authorization": f"Bearer {store.create_key(name, 'holder', ['record', 'read', 'learn'])[1]}"}


def record(service, query, **request):
    made = service.post("/v1/trajectories", {"vector": X, "query": query, "quality": 1}, **request)
    assert made.status_code == 202


def found(service, **request):
    for engine in list(service.app.state.service.spaces._seen):
        engine.engine.flush()
    answer = service.post("/v1/search", {"vector": X}, **request)
    assert answer.status_code == 200
    return [row["query"] for row in answer.json()["found"]]


def test_a_key_means_its_own_space_whatever_is_called_so_now(service, space, elsewhere):
    name = space()
    old = bearer(elsewhere, name)
    record(service, "of the old tenant", headers=old)
    elsewhere.rename_space(name, f"{name} before")
    elsewhere.space(name, DIM, config=CONFIG).flush()
    new = bearer(elsewhere, name)
    assert found(service, headers=new) == []
    record(service, "of the new tenant", headers=new)
    assert found(service, headers=new) == ["of the new tenant"]
    assert found(service, headers=old) == ["of the old tenant"]
    assert [one["trajectories"] for one in service.get("/v1/spaces", headers=old).json()["spaces"]] == [1]
    shown = service.get("/metrics", headers=new).text
    assert f'space="{name}"' in shown
    assert f'space="{name} before"' not in shown


def test_a_name_means_the_space_that_is_called_so_now(service, space, elsewhere):
    name = space()
    record(service, "before", params={"space": name})
    elsewhere.rename_space(name, f"{name} before")
    assert service.get("/v1/stats", params={"space": name}).status_code == 404
    elsewhere.space(name, DIM, config=CONFIG).flush()
    record(service, "after", params={"space": name})
    assert found(service, params={"space": name}) == ["after"]
    assert found(service, params={"space": f"{name} before"}) == ["before"]


def test_a_space_that_was_removed_and_made_again_is_served(service, space, elsewhere):
    name = space()
    key = bearer(elsewhere, name)
    record(service, "before", headers=key)
    assert found(service, params={"space": name}) == ["before"]
    elsewhere.remove_space(name)
    assert service.get("/v1/stats", params={"space": name}).status_code == 404
    assert service.post("/v1/trajectories", {"vector": X}, headers=key).status_code == 404
    elsewhere.space(name, DIM, config=CONFIG).flush()
    record(service, "after", params={"space": name})
    assert found(service, params={"space": name}) == ["after"]
    assert service.post("/v1/trajectories", {"vector": X}, headers=key).status_code == 404  # the key went with it


def test_one_that_is_made_again_with_another_dimension_is_served(service, space, elsewhere):
    name = space()
    elsewhere.remove_space(name)
    assert service.post("/v1/spaces", {"name": name, "dim": 4}).json() == {"name": name, "dim": 4}
    assert service.post("/v1/adapt", {"vector": [1.0] * 4}, params={"space": name}).status_code == 200
