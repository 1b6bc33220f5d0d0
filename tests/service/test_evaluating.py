"""Estimates of other budgets over HTTP: the same as the engine's, and a reason where the log says too little."""

from __future__ import annotations

import random
from urllib.parse import quote

import pytest

from sona_pg.domain.ids import uuid7

COSTS = {"small": 0.1, "large": 0.9}


def routed(service, name, count, costs):
    """Record ``count`` rated decisions of a router in a new space."""
    service.post("/v1/spaces", {"name": name, "dim": 8})
    asked, drawn = {"params": {"space": name}}, random.Random(3)
    for place in range(count):
        text = "".join(drawn.choice("abcdefgh") for _ in range(12))
        decision = service.post(
            "/v1/route", {"text": text, "candidates": [*COSTS], "costs": costs or None}, **asked
        ).json()
        good = drawn.random() < (0.9 if decision["route"] == "large" else 0.5)
        body = {"text": text, "decision": decision, "route": decision["route"], "quality": float(good)}
        service.post("/v1/trajectories", body, **asked)
        if place % 60 == 59:
            service.post("/v1/learn", **asked)
    return asked


@pytest.fixture(scope="module")
def asked(service):
    return routed(service, f"money {uuid7()}", 300, COSTS)


def test_half_a_budget_has_an_estimate_with_its_routes(service, asked):
    answer = service.post("/v1/evaluate", {"budget_shares": [0.5, 0.9]}, **asked)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    told = {one["policy"]: one for one in found["estimates"]}
    spent = told["logged"]["cost"]
    half, most, *mixes = (one for one in found["estimates"] if one["budget"] is not None)
    assert [one["policy"] for one in mixes] == [f"constant mix, budget {one['budget']:g}" for one in (half, most)]
    assert (half["budget"], most["budget"]) == (pytest.approx(0.5 * spent), pytest.approx(0.9 * spent))
    for one in (half, most, *mixes):
        assert one["cost"] <= one["budget"] + 1e-6
        assert sum(one["routes"].values()) == pytest.approx(1)
        assert one["refused"] or one["low"] < one["quality"] < one["high"]
    assert found["decisions"] + found["learned_from"] == 300
    assert (found["not_offered"], found["least_size"], found["paid"]) == ([], 50, None)
    engine = service.app.state.service.spaces.opened[asked["params"]["space"]].engine
    again = engine.evaluate_policies(budget_shares=[0.5, 0.9])
    assert [one.as_dict()["quality"] for one in again] == [one["quality"] for one in found["estimates"]]


def test_a_budget_below_the_cheapest_routes_is_told_as_not_possible(service, asked):
    found = service.post("/v1/evaluate", {"budget_shares": [0.01]}, **asked).json()
    one = next(one for one in found["estimates"] if one["budget"] is not None)
    assert (one["quality"], one["routes"]) == (None, {})
    assert one["refused"] == "not possible: the cheapest routes cost 0.1 a decision"
    assert service.post("/v1/evaluate", {"budgets": [0.01]}, **asked).status_code == 422


def test_a_space_without_evidence_says_so(service):
    name = f"none {uuid7()}"
    service.post("/v1/spaces", {"name": name, "dim": 8})
    answer = service.post(f"/v1/evaluate?space={quote(name)}", {"budget_shares": [0.5]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["estimates"] == []
    assert "has no judged decision since" in answer.json()["refused"]


def test_shares_of_an_unknown_cost_are_no_estimate(service):
    asked = routed(service, f"free {uuid7()}", 60, {})
    found = service.post("/v1/evaluate", {"budget_shares": [0.5]}, **asked).json()
    assert "has told what" in found["refused"]
    assert service.post("/v1/evaluate", {"budget_shares": [0.5], "costs": COSTS}, **asked).json()["estimates"]
