"""Quality by label in a period, and users who give much of what is rated down: one figure over HTTP and in SQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest


@pytest.fixture
def name(service, space):
    """A space of two markets, in which one user of many gave twelve of sixteen thumbs down."""
    found = {"space": space()}
    rows = [{"text": "aab", "quality": 1.0, "context": ["market:de", f"user:{place}"]} for place in range(30)]
    rows += [
        {"text": "aab", "quality": float(place >= 4), "context": ["market:fr", f"user:{place}"]} for place in range(10)
    ]
    rows += [{"text": "aab", "quality": 0.0, "context": ["market:fr", "user:angry"]}] * 12
    old = (datetime.now(UTC) - timedelta(days=20)).isoformat()
    rows += [
        {"id": f"{place}", "started_at": old, "text": "aab", "quality": 0.0, "context": ["market:de"]}
        for place in range(10)
    ]
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=found)
    service.post("/v1/learn", params=found)
    return found


def test_labels_are_compared_in_the_period(service, service_url, name):
    found = service.get("/v1/dashboard/labels", params=name | {"days": 7}).json()
    told = {one["label"]: (one["rated"], one["quality"]) for one in found["labels"]}
    assert told == {"market:de": (30, 1.0), "market:fr": (22, pytest.approx(6 / 22))}
    whole = service.get("/v1/dashboard/labels", params=name | {"days": 30}).json()["labels"]
    assert (whole[0]["label"], whole[0]["rated"], whole[0]["quality"]) == ("market:de", 40, pytest.approx(0.75))
    with psycopg.connect(service_url) as connection:
        asked = "SELECT label, rated, quality FROM sona.quality_by_label(%s, current_date - 6) WHERE kind = 'label'"
        assert {row[0]: row[1:] for row in connection.execute(asked, [name["space"]])} == told


def test_a_user_who_gave_most_thumbs_down_is_named_with_the_mean_without_them(service, name):
    (heavy,) = service.get("/v1/dashboard/labels", params=name | {"days": 7}).json()["heavy_users"]
    assert (heavy["label"], heavy["rated"], heavy["downs"]) == ("user:angry", 12, 12)
    assert heavy["share_of_downs"] == pytest.approx(12 / 16)
    assert heavy["quality_without"] == pytest.approx(36 / 40)


def pleased(*users: tuple[str, int, float]) -> list[dict[str, object]]:
    """Requests of 20 users, who rated half of their four answers good, and of ``users`` with one quality each."""
    rows = [
        {"text": "aab", "route": "usual", "quality": float(turn % 2), "context": [f"user:{place}"]}
        for place in range(20)
        for turn in range(4)
    ]
    return rows + [
        {"text": "aab", "route": "new", "quality": quality, "context": [user]}
        for user, count, quality in users
        for _ in range(count)
    ]


@pytest.fixture
def one_sided(service, space):
    """A space in which two users rated everything good, another too rarely to tell, and one nearly everything."""
    found = {"space": space()}
    users = [("user:hans", 40, 1.0), ("user:greta", 30, 1.0), ("user:rare", 9, 1.0), ("user:strict", 20, 0.9)]
    service.post("/v1/trajectories/batch", {"trajectories": pleased(*users)}, params=found)
    service.post("/v1/learn", params=found)
    return found


def test_users_who_rated_everything_good_are_named_with_the_mean_without_them(service, one_sided):
    found = service.get("/v1/dashboard/labels", params=one_sided | {"days": 7}).json()
    assert [(one["label"], one["rated"]) for one in found["always_good"]] == [("user:hans", 40), ("user:greta", 30)]
    assert found["without_always_good"] == {
        "theirs": 70, "rated": 109, "quality": pytest.approx((40 + 9 + 18) / 109),
    }  # fmt: skip


@pytest.mark.parametrize(("own", "named"), [(1.0, ["user:marta"]), (0.0, [])])
def test_a_correction_by_somebody_else_does_not_hide_a_user_who_rated_everything_good(service, space, own, named):
    found, one = {"space": space()}, {"text": "aab", "route": "usual", "context": ["user:marta"]}
    rows = [one, *(one | {"quality": own if place == 0 else 1.0} for place in range(40))]
    rows += pleased()
    ids = service.post("/v1/trajectories/batch", {"trajectories": rows}, params=found).json()["ids"]
    said = [{"trajectory": id_, "correction": "other"} for id_ in (ids[0], ids[2])]  # by an agent
    service.post("/v1/feedback/batch", {"feedback": said}, params=found)
    service.post("/v1/learn", params=found)
    told = service.get("/v1/dashboard/labels", params=found | {"days": 7}).json()
    assert [one["label"] for one in told["always_good"]] == named
    assert (told["without_always_good"] or {}).get("quality") == (0.5 if named else None)


@pytest.mark.parametrize(("downs", "others", "named"), [(15, 7, []), (0, 7, ["user:marta"])])
def test_an_applications_own_check_of_each_answer_is_no_rating_by_users_who_give_thumbs(
    service, space, downs, others, named
):
    found, users = {"space": space()}, [("user:marta", 40, 1.0)] + [(f"user:{place}", 14, 1.0) for place in range(20)]
    rows = pleased(*users)[80:]
    ids = service.post("/v1/trajectories/batch", {"trajectories": rows}, params=found).json()["ids"]
    said = [{"trajectory": id_, "quality": float(place >= downs)} for place, id_ in enumerate(ids[:20])]
    said += [{"trajectory": ids[40 + 14 * user + n], "quality": 0.0} for user in range(20) for n in range(others)]
    service.post("/v1/feedback/batch", {"feedback": said}, params=found)
    service.post("/v1/learn", params=found)
    told = service.get("/v1/dashboard/labels", params=found | {"days": 7}).json()
    assert [one["label"] for one in told["always_good"]] == named


def test_the_leaderboard_has_routes_without_users_who_rated_everything_good(service, one_sided):
    found = service.get("/v1/dashboard/routes", params=one_sided | {"days": 7}).json()
    assert found["always_good"] == ["user:hans", "user:greta"]
    told = {one["route"]: (one["always_good"], one["others_quality"]) for one in found["routes"]}
    assert told == {"new": (70, pytest.approx((9 + 18) / 29)), "usual": (0, 0.5)}


def test_good_ratings_of_a_user_where_nearly_all_are_good_tell_nothing(service, space):
    found = {"space": space()}
    rows = [row | {"quality": float(place != 0)} for place, row in enumerate(pleased(("user:hans", 40, 1.0)))]
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=found)
    service.post("/v1/learn", params=found)
    told = service.get("/v1/dashboard/labels", params=found | {"days": 7}).json()
    assert (told["always_good"], told["without_always_good"]) == ([], None)
    assert service.get("/v1/dashboard/routes", params=found | {"days": 7}).json()["always_good"] == []


def test_a_space_without_labels_has_none(service, space):
    found = service.get("/v1/dashboard/labels", params={"space": space()}).json()
    assert (found["labels"], found["heavy_users"], found["always_good"]) == ([], [], [])
