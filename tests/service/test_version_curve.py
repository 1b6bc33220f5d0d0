"""Quality by version is of what each version decided: one figure on the page and in SQL."""

from __future__ import annotations

import psycopg
import pytest


def test_quality_by_version_goes_by_the_version_that_decided_as_in_sql(service, space, service_url):
    name = {"space": space()}
    rows = [{"text": "aab", "route": "small", "quality": 1.0}] * 3
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    asked = {"text": "aab", "candidates": ["small", "large"]}
    decisions = [service.post("/v1/route", asked, params=name).json() for _ in range(2)]
    service.post("/v1/learn", params=name)
    for decision, quality in zip(decisions, (1.0, 0.0), strict=True):  # they come in late
        service.post("/v1/trajectories", {"text": "aab", "decision": decision, "quality": quality}, params=name)
    service.post("/v1/learn", params=name)
    facts = service.post("/v1/dashboard/facts", {"text": "aab"}, params=name).json()["facts"]
    by = [fact["decided_by"] for fact in facts]
    assert (by.count(0), by.count(None)) == (2, 3)
    found = service.get("/v1/dashboard/learning", params=name).json()
    told = {point["version"]: (point["rated"], point["quality"], point["low"]) for point in found["points"]}
    assert (told[0][:2], told[1], found["points"][0]["origin"]) == ((2, 0.5), (0, None, None), "start")
    assert (found["undecided"]["rated"], found["undecided"]["quality"]) == (3, 1.0)
    with psycopg.connect(service_url) as connection:
        curve = "SELECT version, coalesce(rated, 0), quality, low FROM sona.learning_curve WHERE space = %s"
        in_sql = {row[0]: row[1:] for row in connection.execute(curve, [name["space"]])}
    assert told == {version: pytest.approx(known) for version, known in in_sql.items()}
