"""The leaderboard tells how many routes there are, finds one by its name, and leads to what was rated bad."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from sona_pg import MaintenanceConfig
from sona_pg.domain.leaderboard import BadRatings, RouteStanding, best_first, ordered, usual_share
from sona_pg.engine import leaderboards
from sona_pg.store.admin.maintenance import Maintenance
from sona_pg.store.database import Database


@pytest.fixture
def name(service, space, rows):
    """A space of 60 articles; those with an odd number were rated bad, all but the first."""
    found = {"space": space()}
    told = [
        {"text": "aab", "route": f"Article {place:02}", "quality": float(place % 2 == 0 or place == 1)}
        for place in range(60)
        for _ in range(2)
    ]
    service.post("/v1/trajectories/batch", {"trajectories": told}, params=found)
    rows(found["space"])  # committed
    return found


def test_the_leaderboard_tells_how_many_routes_there_are(service, name):
    found = service.get("/v1/dashboard/routes", params=name).json()
    assert (len(found["routes"]), found["all"]) == (50, 60)


def test_a_route_beyond_those_taken_most_often_is_found_by_its_name(service, name):
    found = service.get("/v1/dashboard/routes", params=name | {"find": "ticle 59"}).json()
    assert ([one["route"] for one in found["routes"]], found["all"]) == (["Article 59"], 1)
    assert service.get("/v1/dashboard/routes", params=name | {"find": "%"}).json()["all"] == 0


def test_the_requests_of_a_route_that_were_rated_bad_are_told(service, name):
    def bad(route):
        asked = name | {"route": route, "days": 7}
        return service.get("/v1/dashboard/rated-bad", params=asked).json()["requests"]

    assert [(one["route"], one["quality"], one["query"]) for one in bad("Article 03")] == [("Article 03", 0, "aab")] * 2
    assert (bad("Article 01"), bad("Article 02"), bad("none")) == ([], [], [])
    later = {"trajectory": bad("Article 03")[0]["trajectory"], "quality": 1}
    service.post("/v1/feedback", later, params=name)
    service.app.state.service.spaces.opened[name["space"]].engine.flush()
    assert len(bad("Article 03")) == 1


def test_all_routes_are_ordered_by_a_figure_and_not_the_most_taken_alone(service, name):
    def first(order, **more):
        asked = name | {"order": order, **more}
        return service.get("/v1/dashboard/routes", params=asked).json()["routes"]

    found = first("route")
    assert ([one["route"] for one in found[:2]], len(found)) == (["Article 59", "Article 58"], 50)
    worst = [one["route"] for one in first("quality", descending=False)[:29]]
    assert worst == [f"Article {place:02}" for place in range(3, 60, 2)]
    assert {one["bad"] for one in first("bad")[:29]} == {2}
    assert first("cost")[0]["route"] == "Article 00"  # none has a cost: by name
    answer = service.get("/v1/dashboard/routes", params=name | {"order": "luck"})
    assert answer.status_code == 422


def test_the_worst_route_is_found_though_others_are_taken_more_often(service, space, rows, monkeypatch):
    found = {"space": space()}
    told = [{"text": "aab", "route": f"good {place}", "quality": 1.0} for place in range(8) for _ in range(3)]
    told.append({"text": "aab", "route": "the bad one", "quality": 0.0})
    service.post("/v1/trajectories/batch", {"trajectories": told}, params=found)
    rows(found["space"])  # committed
    monkeypatch.setattr(leaderboards, "ORDERED", 3)
    for order in ({"order": "bad"}, {"order": "quality", "descending": False}):
        board = service.get("/v1/dashboard/routes", params=found | order).json()
        assert board["routes"][0]["route"] == "the bad one"
        assert (len(board["routes"]), board["ordered"], board["all"], board["left_out"]) == (3, 3, 9, 0)


def test_requests_of_routes_without_daily_figures_are_told(service, service_url, space):
    found = {"space": space()}
    at = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    told = [
        {"id": str(place), "started_at": at, "text": "aab", "route": "rare" if place < 2 else "often", "quality": 1.0}
        for place in range(5)
    ]
    service.post("/v1/trajectories/batch", {"trajectories": told}, params=found)
    service.post("/v1/learn", params=found)
    database = Database.open(service_url)
    list(Maintenance(database.engine, MaintenanceConfig()).run())
    database.close()
    with psycopg.connect(service_url) as connection:  # as beyond the 10,000 of a day
        gone = connection.execute(
            "DELETE FROM sona.daily_figures f USING sona.spaces s"
            " WHERE s.space_id = f.space_id AND s.name = %s AND f.kind = 'route' AND f.name = 'rare'", [found["space"]]
        )  # fmt: skip
        assert gone.rowcount == 1
        connection.execute(  # so that the day is not summed as it is read
            "UPDATE sona.summary_days d SET summed_at = now() + interval '1 hour', stale_since = NULL"
            " FROM sona.spaces s WHERE s.space_id = d.space_id AND s.name = %s", [found["space"]]
        )  # fmt: skip
    for find, routes in (("", ["often"]), ("rare", [])):
        board = service.get("/v1/dashboard/routes", params=found | {"find": find}).json()
        assert ([one["route"] for one in board["routes"]], board["left_out"]) == (routes, 2)


def test_answers_that_were_wrongly_chosen_are_told_from_those_badly_written(service, space, rows):
    found = {"space": space()}
    told = [{"text": "aab", "route": route} for route in ("misplaced", "misplaced", "misplaced", "unclear", "unclear")]
    made = service.post("/v1/trajectories/batch", {"trajectories": told}, params=found).json()["ids"]
    said = [{"correction": "fees"}, {"correction": "tan"}, {"quality": 1}, {"quality": 0.2}, {"correction": "fees"}]
    for trajectory, word in zip(made, said, strict=True):
        service.post("/v1/feedback", {"trajectory": trajectory, **word}, params=found)
    service.post("/v1/feedback", {"trajectory": made[4], "quality": 0}, params=found)  # instead of the correction
    rows(found["space"])  # committed
    asked = found | {"order": "bad_itself"}
    board = service.get("/v1/dashboard/routes", params=asked).json()["routes"]
    assert [(one["route"], one["judged"], one["bad"], one["corrected"]) for one in board] == [
        ("unclear", 2, 2, 0), ("misplaced", 3, 2, 2),
    ]  # fmt: skip
    assert board[0]["bad_itself"] == 1
    assert (board[0]["bad_itself_low"], board[0]["bad_itself_high"]) == (pytest.approx(0.342, abs=0.001), 1)


def standing(route: str, **more: object) -> RouteStanding:
    """A route of 40 ratings as they were sent, with other figures."""
    told = {"route": route, "trajectories": 40, "rated": 40, "quality": 0.5, "low": 0.35, "high": 0.65}
    return RouteStanding(**{**told, "latency_us": None, "costed": 0, "cost": None, **more})  # type: ignore[arg-type]


def test_the_worst_text_is_the_one_that_a_better_one_may_gain_most_by():
    def rated(route: str, judged: int, bad: int) -> RouteStanding:
        known = BadRatings(judged, bad, 0)
        share, low, high = known.itself()
        more = {"bad_itself": share, "bad_itself_low": low, "bad_itself_high": high}
        return standing(route, judged=judged, bad=bad, bad_beyond_usual=known.beyond(0.3), **more)

    routes = [rated("once", 1, 1), rated("twice", 2, 2), rated("good", 60, 5), rated("ruined", 57, 26),
              rated("worst", 10, 9), standing("unjudged")]  # fmt: skip
    assert [one.route for one in ordered(routes, "bad_itself", descending=True)] == [
        "worst", "ruined", "twice", "once", "good", "unjudged",
    ]  # fmt: skip
    lowest_first = [one.route for one in ordered(routes, "bad_itself", descending=False)]
    assert lowest_first == ["good", "once", "twice", "ruined", "worst", "unjudged"]
    often, never_right = rated("often", 36, 27), rated("never right", 10, 10)
    assert often.bad_itself_low < never_right.bad_itself_low
    assert ordered([never_right, often], "bad_itself", descending=True)[0] is often
    assert usual_share([BadRatings(40, 20, 10), BadRatings(10, 0, 0), BadRatings(3, 3, 3)]) == 0.25


def test_a_route_without_a_figure_on_like_questions_has_its_place_by_what_is_known():
    routes = [
        standing("std", like_quality=0.52, like_low=0.42, like_high=0.61),
        standing("mini", like_quality=0.48, like_low=0.38, like_high=0.58),
        standing("premium", quality=0.68, low=0.55, high=0.79),
        standing("unrated", rated=0, quality=None, low=None, high=None),
    ]
    assert [one.route for one in sorted(routes, key=best_first)] == ["premium", "std", "mini", "unrated"]
    assert [one.route for one in ordered(routes, "likely", descending=True)] == ["premium", "std", "mini", "unrated"]


def test_an_answer_that_was_corrected_is_rated_bad_even_if_a_customer_liked_it(service, space, rows):
    found = {"space": space()}
    told = [{"text": f"aab{place}", "route": "limits", "quality": 1} for place in range(4)]
    made = service.post("/v1/trajectories/batch", {"trajectories": told}, params=found).json()["ids"]
    rows(found["space"])  # committed
    engine = service.app.state.service.spaces.opened[found["space"]].engine
    for place, said in enumerate([{"correction": "fees"}, {"correction": "limits"}, {"quality": 0.5}]):
        for word in ({"quality": 1, "source": "user"}, said | {"source": "agent"}):
            engine.feedback(made[place], **word)
    engine.flush()
    service.post("/v1/learn", params=found)
    (one,) = service.get("/v1/dashboard/routes", params=found).json()["routes"]
    assert (one["judged"], one["bad"], one["corrected"]) == (4, 1, 1)
    assert one["quality"] == pytest.approx((0.5 + 1 + 0.75 + 1) / 4)  # the mean of all words, as learning has it
    bad = service.get("/v1/dashboard/rated-bad", params=found | {"route": "limits"}).json()["requests"]
    assert [(one["trajectory"], one["quality"]) for one in bad] == [(made[0], 0.5)]
    topics = service.get("/v1/dashboard/topics", params=found).json()["topics"]
    assert sum(one["bad"] for one in topics) == 1
    patterns = service.get("/v1/dashboard/patterns", params=found).json()["patterns"]
    assert sum(one["bad"] for one in patterns) == 1
