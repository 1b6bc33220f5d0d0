"""Figures for Prometheus: one scrape tells of all spaces, a key of its own; a locked database hides none of ours."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import psycopg
import pytest

from sona_pg import SonaEngine, Store
from sona_pg.cli.figures_port import figures_served
from sona_pg.domain.ids import uuid7
from sona_pg.service import metrics_text, strayed_figures
from sona_pg.store import strayed_rows, transactions
from sona_pg.worker import background
from tests.service.conftest import CONFIG, DIM, OPTIONS, Service, serving

AWAY: dict[str, Any] = {"client": ("203.0.113.7", 5), "base_url": "http://example.org"}
LOCK = "LOCK TABLE sona.spaces IN ACCESS EXCLUSIVE MODE"

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%failed.cycles%'"


def series(text: str, name: str) -> dict[str, float]:
    """Return the values of a figure by space."""
    return {space: float(value) for space, value in re.findall(rf'^{name}{{space="(.*)"}} (\S+)$', text, re.MULTILINE)}


def unopened(url: str, name: str, records: int) -> None:
    """Make a space with records, and leave it."""
    with SonaEngine(DIM, url, name, config=CONFIG) as engine:
        for _ in range(records):
            engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.9)


def test_spaces_that_nobody_has_opened_have_figures(database_url: str) -> None:
    unopened(database_url, "asleep", 7)
    with serving(database_url) as service:
        text = service.get("/metrics").text
        assert series(text, "sona_unlearned_facts") == {"asleep": 7, "default": 0}
        assert series(text, "sona_trajectories_total") == {"asleep": 7, "default": 0}
        assert series(text, "sona_unlearned_seconds")["asleep"] > series(text, "sona_unlearned_seconds")["default"] == 0
        assert series(text, "sona_live_version_age_seconds")["asleep"] > 0
        assert series(text, "sona_recorded_total") == {"default": 0}  # of this process
        assert "\nsona_spaces 2\n" in text
        assert re.search(r"^sona_maintained_timestamp_seconds \d", text, re.MULTILINE)
        assert "sona_dumped" not in text  # nobody has made a dump
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE sona.schema_revision SET dumped_at = to_timestamp(7)")
        assert "\nsona_dumped_timestamp_seconds 7\n" in service.get("/metrics").text


def test_feedback_without_its_trajectory_has_a_figure(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with SonaEngine(DIM, database_url, "wrong", config=CONFIG) as engine:
        engine.feedback(uuid7(), 1.0)
        engine.feedback(uuid7(), 1.0)
    with serving(database_url) as service:
        assert series(service.get("/metrics").text, "sona_strayed_feedback") == {"wrong": 0, "default": 0}
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE sona.feedback SET recorded_at = recorded_at - interval '2 hours'")
        assert series(service.get("/metrics").text, "sona_strayed_feedback")["wrong"] == 0  # counted lately
        monkeypatch.setattr(strayed_figures, "COUNTED_FOR", 0.0)
        assert series(service.get("/metrics").text, "sona_strayed_feedback") == {"wrong": 2, "default": 0}
        monkeypatch.setattr(strayed_rows, "OF_ALL", "SELECT pg_sleep(60)")
        text = service.get("/metrics").text
        assert (series(text, "sona_strayed_feedback"), series(text, "sona_unlearned_facts")["wrong"]) == ({}, 2)


def test_a_key_shows_its_own_space_alone(service: Service, service_store: Store, space: Callable[[], str]) -> None:
    own, other = space(), space()
    _, token = service_store.create_key(own, "prometheus", ["read"])
    text = service.get("/metrics", headers={"Authorization": f"Bearer {token}"}, **AWAY).text
    assert set(re.findall(r'space="(.*)"', text)) == {own}
    assert "\nsona_spaces 1\n" in text
    assert "sona_maintained" not in text  # that is the store's
    assert {own, other} <= series(service.get("/metrics").text, "sona_live_version").keys()


def test_a_port_without_keys_tells_of_all_spaces(service: Service, space: Callable[[], str]) -> None:
    names = {space(), space()}
    asked = partial(metrics_text.figures, service.app), partial(metrics_text.health, service.app)
    with figures_served(*asked, 0) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert names <= series(answer.read().decode(), "sona_live_version").keys()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
            assert answer.status == 200


def test_failing_and_open_spaces_come_first_where_there_are_too_many(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        unopened(database_url, name, 40)

    def refused(*_: object, **__: object) -> None:
        raise ArithmeticError("this space cannot be learned")

    with monkeypatch.context() as broken, SonaEngine(DIM, database_url, "c", config=CONFIG) as engine:
        broken.setattr(background, "learn", refused)
        with pytest.raises(ArithmeticError):
            engine.force_learn()
    monkeypatch.setattr(metrics_text, "MOST_SPACES", 2)
    with serving(database_url) as service:
        text = service.get("/metrics").text
    assert series(text, "sona_failed_cycles") == {"c": 1, "default": 0}
    assert "\nsona_spaces 4\n" in text
    assert "\nsona_spaces_unlisted 2\n" in text


def test_a_locked_table_of_spaces_takes_nothing_of_this_process_away(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "SERVER_LIMIT", transactions.limit_of(0.2))
    with serving(database_url, OPTIONS) as service, psycopg.connect(database_url) as locking:
        assert "\nsona_database_up 1\n" in service.get("/metrics").text
        locking.execute(LOCK)
        text = service.get("/metrics").text
        assert "\nsona_database_up 0\n" in text
        assert series(text, "sona_uncommitted_records") == {"default": 0}
        assert series(text, "sona_unlearned_facts") == {}
        with psycopg.connect(database_url) as looking:
            assert looking.execute(WAITING).fetchone() == (0,)  # nor is a session left that waits
        locking.rollback()
        assert "\nsona_database_up 1\n" in service.get("/metrics").text
