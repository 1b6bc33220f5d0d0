"""The memory graph's view says when dreams ran last, and how many passed."""

from __future__ import annotations

from datetime import UTC, datetime


def test_the_last_dreams_are_told_with_how_many_passed(service, space):
    name = {"space": space()}
    service.post("/v1/candidates", {"ids": ["parcels", "refunds"], "texts": ["aaab", "zzzq"]}, params=name)
    for text, route in (("aab", "parcels"), ("zzq", "refunds")):
        body = {"text": text, "ranking": service.post("/v1/rank", {"text": text}, params=name).json(), "route": route}
        service.post("/v1/trajectories", body | {"quality": 1, "context": ["session:1"]}, params=name)
    service.post("/v1/learn", params=name)
    graph = service.get("/v1/dashboard/memory", params=name).json()
    assert (graph["dreams"], graph["all_nodes"] > 0) == (None, True)
    ran = service.post("/v1/learn/deep", {"seconds": 5}, params=name).json()["dreams"]
    found = service.get("/v1/dashboard/memory", params=name).json()
    told = found["dreams"]
    assert {key: told[key] for key in ("count", "good", "joined")} == {
        "count": 50, "good": ran["good"], "joined": ran["joined"],
    }  # fmt: skip
    assert (datetime.now(UTC) - datetime.fromisoformat(told["ran_at"])).total_seconds() < 600
