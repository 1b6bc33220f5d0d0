"""A new price of a model is told with the figures of the period."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

DAYS = 14


def test_a_new_price_is_told_with_its_day(service, space):
    name = {"space": space()}
    first = datetime.now(UTC).replace(hour=0, minute=1, second=0) - timedelta(days=DAYS - 1)
    rows = [
        {
            "id": f"{day} {place}", "started_at": (first + timedelta(days=day, seconds=place)).isoformat(),
            "text": "zzq", "quality": 1.0, "route": "large" if place % 2 else "small",
            "cost": (0.012 if day < 8 else 0.006) if place % 2 else 0.001,
        }
        for day in range(DAYS) for place in range(8)
    ]  # fmt: skip
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    found = service.get("/v1/dashboard/figures", params=name).json()
    (price,) = found["prices"]
    assert (price["route"], price["changed_on"]) == ("large", (first + timedelta(days=8)).date().isoformat())
    assert (price["before"], price["since"]) == (pytest.approx(12), pytest.approx(6))
    page = service.get("/v1/dashboard/figures", params=name | {"days": 3}).json()
    assert page["prices"] == []
