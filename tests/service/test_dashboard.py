"""The dashboard's figures: samples of what is stored, and what versions have answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from sona_pg.domain.ids import uuid7
from sona_pg.engine.period_overview import start_of_period
from sona_pg.store import outcome_samples

QUERIES = ["where is my parcel", "refund please", "abba", "zebra quiz", "lost password", "no milk today"]


@pytest.fixture(scope="module")
def learned(service):
    """A space with two versions: taught by thumbs and costs, then by a correction."""
    name = {"space": f"seen {uuid7()}"}
    service.post("/v1/spaces", {"name": name["space"], "dim": 8})
    rows = [
        {"text": QUERIES[place % 6], "route": "big" if place % 2 else "small", "quality": place % 2, "cost": 0.5}
        for place in range(24)
    ]
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/candidates", {"ids": ["parcels", "refunds"], "texts": ["aaab", "zzzq"]}, params=name)
    service.post("/v1/learn", params=name)
    ranking = service.post("/v1/rank", {"text": "aab"}, params=name).json()
    body = {"text": "aab", "ranking": ranking, "route": ranking["ids"][0]}
    shown = service.post("/v1/trajectories", body, params=name).json()["id"]
    wrong = ranking["ids"][1]
    service.post("/v1/feedback", {"trajectory": shown, "correction": wrong}, params=name)
    service.post("/v1/learn", params=name)
    return name | {"corrected": wrong, "first": ranking["ids"][0], "trajectory": shown}


def view(service, learned, path, **more):
    answer = service.get(f"/v1/dashboard/{path}", params={"space": learned["space"], **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def asked(service, learned, path, body):
    answer = service.post(f"/v1/dashboard/{path}", body, params={"space": learned["space"]})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_quality_over_time_counts_each_sampled_trajectory_once(service, learned):
    points = view(service, learned, "quality")["points"]
    assert sum(point["trajectories"] for point in points) == 25
    rated = sum(point["rated"] for point in points)
    assert sum(point["rated"] * (point["quality"] or 0) for point in points) == pytest.approx(12, abs=0.01)
    assert rated == 25
    assert [point["start"] for point in points] == sorted(point["start"] for point in points)


def test_the_learning_curve_has_a_point_for_each_version(service, learned):
    found = view(service, learned, "learning")
    points, others = found["points"], found["undecided"]
    assert [(point["version"], point["origin"]) for point in points] == [(1, "cycle"), (2, "cycle")]
    assert (points[0]["trajectories"], points[1]["trajectories"]) == (1, 0)
    assert points[0]["quality"] == 0  # corrected
    assert points[0]["high"] > 0.7  # one rating says little
    assert (others["trajectories"], others["quality"], found["missing_days"]) == (24, pytest.approx(0.5), 0)


def test_the_period_has_the_mean_of_all_its_ratings_and_what_each_route_cost(service, learned):
    found = view(service, learned, "figures")
    assert (found["now"]["trajectories"], found["now"]["rated"]) == (25, 25)
    assert found["now"]["quality"] == pytest.approx(12 / 25)
    assert found["now"]["low"] < 12 / 25 < found["now"]["high"]
    assert (found["before"], found["change"], found["missing_days"]) == (None, None, 0)
    assert found["now"]["cost"] == pytest.approx(12)
    spent = {row["route"]: (row["costed"], row["share"], row["per_thousand"]) for row in found["routes"]}
    assert spent["big"] == spent["small"] == (12, pytest.approx(0.5), pytest.approx(500))
    assert sum(day["cost"] for day in found["days"]) == pytest.approx(12)
    assert found["days"][-1]["routes"]["big"] == pytest.approx(6)


def test_the_curves_of_a_small_space_count_every_rating(service, space):
    name = {"space": space()}
    at = datetime.now(UTC).isoformat()  # at once: a sample of each stretch of time would leave most of them out
    rows = [{"id": f"{place}", "started_at": at, "text": "aab", "quality": float(place < 50)} for place in range(86)]
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    assert sum(point["rated"] for point in view(service, name, "quality")["points"]) == 86
    assert view(service, name, "learning")["undecided"]["rated"] == 86
    assert view(service, name, "figures")["now"]["rated"] == 86


def test_curves_count_every_rating_up_to_a_hundred_thousand_and_say_so_where_they_do_not(service, space, monkeypatch):
    name = {"space": space()}
    at = datetime.now(UTC).isoformat()
    for part in range(3):
        rows = [
            {"id": f"{part} {place}", "started_at": at, "text": "aab", "quality": float(place < 350)}
            for place in range(701)
        ]
        service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    over_time, by_version = view(service, name, "quality"), view(service, name, "learning")
    assert not over_time["sampled"]
    assert sum(point["rated"] for point in over_time["points"]) == 2103
    assert by_version["undecided"]["rated"] == view(service, name, "figures")["now"]["rated"] == 2103
    assert by_version["undecided"]["quality"] == pytest.approx(1050 / 2103)
    monkeypatch.setattr(outcome_samples, "MOST_READ", 2102)
    over_time = view(service, name, "quality")
    assert over_time["sampled"]
    assert 0 < sum(point["rated"] for point in over_time["points"]) < 2103


def test_a_period_is_compared_with_the_one_before_it(service, space):
    name = {"space": space()}
    now = datetime.now(UTC)
    for ago, good in ((2, 40), (35, 20)):
        at = (now - timedelta(days=ago)).isoformat()
        rows = [
            {"id": f"{ago} {place}", "started_at": at, "text": "aab", "quality": float(place < good)}
            for place in range(50)
        ]
        service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    found = view(service, name, "figures")
    assert (found["now"]["rated"], found["before"]["rated"]) == (50, 50)
    assert found["change"]["difference"] == pytest.approx(0.4)
    assert 0.2 < found["change"]["low"] < 0.4 < found["change"]["high"] < 0.6
    assert found["days"] == []
    whole = view(service, name, "figures", days=3650)
    assert (whole["now"]["rated"], found["since_start"]) == (100, None)
    assert (whole["since_start"]["days"], whole["since_start"]["change"]) == (17, found["change"])
    assert (whole["since_start"]["first"]["quality"], whole["since_start"]["last"]["quality"]) == (0.4, 0.8)


def test_a_period_is_of_whole_days_and_less_than_a_day_is_exact():
    end = datetime(2026, 11, 22, 15, 30, tzinfo=UTC)
    assert start_of_period(end, 30) == datetime(2026, 10, 24, tzinfo=UTC)
    assert start_of_period(end, 1) == datetime(2026, 11, 22, tzinfo=UTC)
    assert start_of_period(end, 0.25) == datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def test_an_erasure_leaves_the_quality_of_the_period_and_is_marked(service, space):
    name = {"space": space()}
    rows = [{"text": "aab", "quality": float(place > 3), "context": [f"user:{place % 10}"]} for place in range(20)]
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    assert service.post("/v1/forget", {"user": "0"}, params=name).status_code == 200
    found = view(service, name, "figures")
    assert (found["now"]["rated"], found["now"]["quality"]) == (18, pytest.approx(15 / 18))
    events = view(service, name, "learning")["events"]
    assert [event["trajectories"] for event in events if event["kind"] == "erasure"] == [2]


def test_routes_come_best_first_with_their_costs(service, learned):
    routes = view(service, learned, "routes")["routes"]
    assert routes[0]["route"] == "big"
    assert (routes[0]["quality"], routes[0]["costed"]) == (1.0, 12)
    assert routes[0]["cost"] == pytest.approx(0.5)


def test_the_leaderboard_is_of_the_period_alone_and_equals_the_function_of_sql(service, space, service_url):
    name = {"space": space()}
    now = datetime.now(UTC)
    for ago, good, cost in ((2, 10, 0.25), (80, 45, 4.0)):
        at = (now - timedelta(days=ago)).isoformat()
        rows = [
            {"id": f"{ago} {place}", "started_at": at, "text": "aab", "route": "big", "cost": cost,
             "quality": float(place < good) if place < 50 else None, "latency": 300 if place < 40 else 3000}
            for place in range(60)
        ]  # fmt: skip
        rows.append(rows[0] | {"id": f"{ago} other", "route": "unrated", "quality": None})
        service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    big, unrated = view(service, name, "routes", days=30)["routes"]
    assert (big["trajectories"], big["rated"], big["costed"]) == (60, 50, 60)
    assert (big["quality"], big["cost"]) == (pytest.approx(0.2), pytest.approx(0.25))
    assert big["low"] < 0.2 < big["high"] < 0.4
    assert big["latency_us"] == pytest.approx(300e6, rel=0.025)  # the median, of unrated ones too
    assert (unrated["quality"], unrated["low"]) == (None, None)
    assert view(service, name, "routes", days=3650)["routes"][0]["quality"] == pytest.approx(0.55)
    with psycopg.connect(service_url) as connection:
        figures = "rated, quality, low, high, cost, median_latency_us"
        in_sql = f"SELECT {figures} FROM sona.routes_between(%s, %s) WHERE place = 1"
        told = connection.execute(in_sql, [name["space"], (now - timedelta(days=29)).date()]).fetchone()
    shown = [big[column] for column in ("rated", "quality", "low", "high", "cost", "latency_us")]
    assert shown == pytest.approx(told, rel=1e-4)


def test_patterns_have_places_on_the_plane_of_the_served_version(service, learned):
    found = view(service, learned, "patterns")
    assert (found["version"], found["basis"], found["left_out"]) == (2, 2, 0)
    assert sum(pattern["size"] for pattern in found["patterns"]) == 25
    assert 0 <= sum(found["explained"]) <= 1.0001
    earlier = view(service, learned, "patterns", version=1)
    assert (earlier["version"], earlier["basis"]) == (1, 2)
    assert sum(pattern["size"] for pattern in earlier["patterns"]) == 24
    missing = service.get("/v1/dashboard/patterns", params={"space": learned["space"], "version": 99})
    assert missing.status_code == 404


def test_topics_are_shown_without_numbers_and_each_wording_once(service, space):
    name = {"space": space()}
    rows = [{"text": f"where is order {place}", "quality": 1.0} for place in range(9)]
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    (found,) = view(service, name, "patterns")["patterns"]
    assert (found["title"], found["wordings"]) == ("where is order [number]", ["where is order [number]"])
    assert len(found["typical_queries"]) == 5
    near = asked(service, name, "answers", {"text": "where is order 7"})["now"]["patterns"][0]
    assert near["title"] == "where is order [number]"


def test_the_best_route_is_of_the_best_quality_everywhere_and_the_cheapest_is_named_apart(service, space, service_url):
    name = {"space": space()}
    counts = {"lucky": (3, 3, 0.1), "small": (90, 111, 1.0), "large": (44, 46, 57.0), "poor": (20, 60, 0.5),
              "near": (40, 46, 9.0)}  # fmt: skip
    rows = [
        {"text": "aab", "route": route, "quality": float(place < good), "cost": cost}
        for route, (good, rated, cost) in counts.items() for place in range(rated)
    ]  # fmt: skip
    rows += [{"text": "aab", "route": "lucky"}] * 20  # unrated
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    (pattern,) = view(service, name, "patterns")["patterns"]
    assert (pattern["best_route"], pattern["alike"], pattern["cheapest"]) == ("large", ["near"], "near")
    assert (pattern["routes"]["lucky"]["size"], pattern["routes"]["lucky"]["rated"]) == (23, 3)
    assert pattern["routes"]["small"]["low"] < 90 / 111 < pattern["routes"]["small"]["high"]
    assert pattern["routes"]["large"]["cost"] == pytest.approx(57)
    near = asked(service, name, "answers", {"text": "aab", "versions": [1]})
    assert near["then"][0]["patterns"][0]["best_route"] == near["now"]["patterns"][0]["best_route"] == "large"
    with psycopg.connect(service_url) as connection:
        in_sql = "SELECT best_route FROM sona.pattern_summary WHERE space = %s"
        assert connection.execute(in_sql, [name["space"]]).fetchall() == [("large",)]


def test_a_pattern_counts_its_bad_ratings(service, space):
    name = {"space": space()}
    rows = [{"text": "aab", "quality": quality} for quality in [0.9, 0.6, 0.6, 0.4, 0.3, 0.0, None]]
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    (pattern,) = view(service, name, "patterns")["patterns"]
    assert (pattern["bad"], pattern["judged"], pattern["size"]) == (2, 6, 7)


def test_the_number_not_learned_yet_is_one_everywhere(service, space, service_url):
    name = {"space": space()}
    made = service.post(
        "/v1/trajectories/batch", {"trajectories": [{"text": "aab"}] * 3}, params=name, headers={"Idempotency-Key": "1"}
    ).json()
    service.post("/v1/learn", params=name)
    for id_ in made["ids"]:
        body = {"trajectory": id_, "quality": 0}
        service.post("/v1/feedback", body, params=name, headers={"Idempotency-Key": id_})
    stats = service.get("/v1/stats", params=name).json()
    learning = view(service, name, "fleet")["learning"]
    assert stats["totals"]["waiting"] == learning["waiting_facts"] == 3


def test_a_query_is_answered_by_each_version_and_now(service, learned):
    found = asked(service, learned, "answers", {"text": "aab", "versions": [0, 1, 2]})
    assert [answer["version"] for answer in found["then"]] == [0, 1, 2]
    assert found["then"][1]["ranking"][0]["id"] == learned["first"]
    live = service.post("/v1/rank", {"text": "aab"}, params={"space": learned["space"]}).json()
    assert [one["id"] for one in found["now"]["ranking"]] == live["ids"]
    assert [one["score"] for one in found["now"]["ranking"]] == pytest.approx(live["scores"], abs=1e-5)
    assert [one["score"] for one in found["then"][2]["ranking"]] == pytest.approx(live["scores"], abs=1e-5)
    assert found["then"][0]["patterns"] == []
    assert found["then"][0]["routes"] == []
    assert {route["id"] for route in found["then"][1]["routes"]} == {"big", "small"}
    assert found["then"][1]["routes"][0]["id"] == "big"


def test_a_version_answers_with_the_candidates_that_were_there_when_it_was_made(service, space):
    name = {"space": space()}
    service.post("/v1/candidates", {"ids": ["parcels", "refunds"], "texts": ["aaab", "zzzq"]}, params=name)
    ranking = service.post("/v1/rank", {"text": "kkk"}, params=name).json()
    body = {"text": "kkk", "ranking": ranking, "route": ranking["ids"][0]}
    shown = service.post("/v1/trajectories", body, params=name, headers={"Idempotency-Key": "asked"}).json()["id"]
    service.post("/v1/candidates", {"ids": ["gift cards"], "texts": ["kkk"]}, params=name)
    service.post("/v1/feedback", {"trajectory": shown, "correction": "gift cards"}, params=name)
    service.post("/v1/learn", params=name)
    service.post("/v1/candidates", {"ids": ["vouchers"], "texts": ["kkkl"]}, params=name)
    service.post("/v1/feedback", {"trajectory": shown, "correction": "vouchers"}, params=name)
    found = asked(service, name, "answers", {"text": "kkk", "versions": [0, 1]})
    then = [{one["id"]: one["added"] for one in answer["ranking"]} for answer in found["then"]]
    assert then[0] == {"parcels": 0, "refunds": 0}
    assert then[1] == {"parcels": 0, "refunds": 0, "gift cards": 1}
    now = {one["id"]: one["added"] for one in found["now"]["ranking"]}
    assert now == {"parcels": 0, "refunds": 0, "gift cards": 1, "vouchers": None}


def test_facts_near_a_query_name_the_version_that_learned_them(service, learned):
    facts = asked(service, learned, "facts", {"text": "aab", "k": 3})["facts"]
    corrected = next(fact for fact in facts if fact["trajectory"] == learned["trajectory"])
    assert (corrected["correction"], corrected["version"], corrected["quality"]) == (learned["corrected"], 2, 0)
    assert corrected["sources"] == ["http"]
    assert {tuple(fact["sources"]) for fact in facts if fact["trajectory"] != learned["trajectory"]} <= {()}
    assert corrected["similarity"] == max(fact["similarity"] for fact in facts)
    assert {fact["version"] for fact in facts if fact["trajectory"] != learned["trajectory"]} <= {1}


def test_the_latest_feedback_names_its_trajectory(service, learned):
    facts = view(service, learned, "feedback")["facts"]
    assert [(fact["trajectory"], fact["correction"], fact["query"]) for fact in facts] == [
        (learned["trajectory"], learned["corrected"], "aab")
    ]


def test_fleet_and_cycles_are_told(service, learned):
    found = view(service, learned, "fleet")
    assert (found["learning"]["live_version"], found["learning"]["waiting_facts"]) == (2, 0)
    assert [server["state"] for server in found["servers"]] == ["live"]
    assert found["strayed"] is None
    cycles = view(service, learned, "cycles")["cycles"]
    assert [(cycle["version"], cycle["error"]) for cycle in cycles] == [(2, None), (1, None)]
    assert cycles[0]["milliseconds"] > 0


def test_the_fleet_tells_of_feedback_on_requests_that_the_space_has_no_record_of(service, service_url):
    name = f"strayed {uuid7()}"
    service.post("/v1/spaces", {"name": name, "dim": 8})
    service.post("/v1/feedback", {"trajectory": str(uuid7()), "quality": 1}, params={"space": name})
    service.post("/v1/learn", params={"space": name})  # waits for its commit
    with psycopg.connect(service_url) as connection:
        connection.execute(
            "UPDATE sona.feedback f SET recorded_at = f.recorded_at - interval '2 hours' FROM sona.spaces s"
            " WHERE s.space_id = f.space_id AND s.name = %s", [name]
        )  # fmt: skip
    strayed = view(service, {"space": name}, "fleet")["strayed"]
    assert strayed["facts"] == 1
    assert datetime.now(UTC) - datetime.fromisoformat(strayed["since"]) > timedelta(hours=1)


def test_the_memory_graph_shows_what_sessions_used_together(service, learned):
    assert view(service, learned, "memory") == {
        "nodes": [], "edges": [], "all_nodes": 0, "all_edges": 0, "dream_edges": 0, "matches": [], "dreams": None,
    }  # fmt: skip
    name = {"space": f"sessions {uuid7()}"}
    service.post("/v1/spaces", {"name": name["space"], "dim": 8})
    service.post("/v1/candidates", {"ids": ["parcels", "refunds"], "texts": ["aaab", "zzzq"]}, params=name)
    for visit in range(3):
        for text in ("aab", "zzq"):
            ranking = service.post("/v1/rank", {"text": text}, params=name).json()
            body = {"text": text, "ranking": ranking, "route": ranking["ids"][0], "quality": 1}
            service.post("/v1/trajectories", body | {"context": [f"session:{visit}"]}, params=name)
    service.post("/v1/learn", params=name)
    graph = view(service, name, "memory")
    labels = {node["id"]: node["label"] for node in graph["nodes"] if node["kind"] == "candidate"}
    assert sorted(labels.values()) == ["parcels", "refunds"]
    together = [{labels.get(edge["source"]), labels.get(edge["target"])} for edge in graph["edges"]]
    assert {"parcels", "refunds"} in together
    assert len({(edge["source"], edge["target"], edge["kind"]) for edge in graph["edges"]}) == len(graph["edges"])
    assert graph["all_edges"] == len(graph["edges"])
    assert all(0 <= edge["weight"] <= 1 for edge in graph["edges"])
    weights = [edge["weight"] for edge in graph["edges"]]
    assert weights == sorted(weights, reverse=True)
    found = view(service, name, "memory", find="REFUND")
    assert found["matches"] == ["candidate/refunds"]
    assert "candidate/parcels" in {node["id"] for node in found["nodes"]}  # connected to it
    assert view(service, name, "memory", find="nothing like this")["nodes"] == []
    service.post("/v1/remember", {"ids": ["parcels"], "texts": ["aaab, where parcels go"]}, params=name)
    assert "aaab, where parcels go" in {node["label"] for node in view(service, name, "memory")["nodes"]}


def test_an_empty_space_has_empty_views(service, space):
    name = {"space": space()}
    for path, field in (("quality", "points"), ("learning", "points"), ("routes", "routes"), ("patterns", "patterns"),
                        ("memory", "nodes"), ("cycles", "cycles"), ("feedback", "facts")):  # fmt: skip
        assert service.get(f"/v1/dashboard/{path}", params=name).json()[field] == [], path
    answers = service.post("/v1/dashboard/answers", {"text": "aab", "versions": [0]}, params=name).json()
    assert answers["now"]["ranking"] == answers["then"][0]["ranking"] == []


def test_answers_come_with_their_texts_where_these_are_stored(service, space):
    name = {"space": space()}
    service.post("/v1/candidates", {"ids": ["parcels"], "texts": ["aaab"]}, params=name)
    service.post("/v1/remember", {"ids": ["refunds"], "texts": ["zzzq, where refunds go"]}, params=name)
    answers = service.post("/v1/dashboard/answers", {"text": "aab", "versions": [0]}, params=name).json()
    assert answers["texts"] == {"refunds": "zzzq, where refunds go"}


def test_the_mean_stands_beside_that_without_the_chats_ratings(service, space):
    name = {"space": space()}
    rows = [{"text": "aab", "quality": float(place < 6)} for place in range(8)]
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    assert view(service, name, "figures")["without_chat"] is None
    rows = [{"text": "aab", "quality": 0, "context": ["session:1", "chat"], "cost": 2} for _ in range(4)]
    asked_in_chat = service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name).json()["ids"]
    service.post("/v1/feedback", {"trajectory": asked_in_chat[0], "correction": "parcels"}, params=name)
    service.post("/v1/learn", params=name)
    found = view(service, name, "figures")
    assert (found["now"]["rated"], found["now"]["quality"]) == (12, 0.5)
    others = found["without_chat"]
    assert (others["trajectories"], others["rated"], others["quality"], others["cost"]) == (8, 8, 0.75, 0)
    assert [fact["in_chat"] for fact in view(service, name, "feedback")["facts"]] == [True]
