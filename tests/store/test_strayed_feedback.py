"""Feedback that finds no trajectory is told apart from late feedback on what retention has removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg

from sona_pg import LoopConfig, SonaConfig, SonaEngine, Store, StrayedFeedback
from sona_pg.domain.ids import uuid7
from sona_pg.store.admin.rating_health import stray_feedback

DIM = 4
CONFIG = SonaConfig(loops=LoopConfig(automatic=False))


def weeks_ago(weeks: int) -> UUID:
    return uuid7(round((datetime.now(UTC) - timedelta(weeks=weeks)).timestamp() * 1000))


def given(url: str, name: str, ids: list[UUID], forget: str | None = None) -> None:
    """Give feedback on ``ids`` two hours ago, and on a request of the user ``forget`` who was erased before."""
    with SonaEngine(DIM, url, name, config=CONFIG) as engine:
        if forget:
            made = engine.begin_trajectory([1.0] * DIM)
            engine.add_trajectory_context(made, f"user:{forget}")
            engine.end_trajectory(made, 1.0)
            ids = [made.id, *ids]
            engine.force_learn()
            engine.forget(user=forget)
        for one in ids:
            engine.feedback(one, 0.0)
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE sona.feedback SET recorded_at = now() - interval '2 hours'")


def found(url: str) -> dict[str, StrayedFeedback]:
    with Store(url) as store:
        every = {one.name: one for one in store.strayed_feedback()}
        assert [store.strayed_feedback(one.space_id) for one in every.values()] == [[one] for one in every.values()]
        return every


def doctor(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [one.found for one in stray_feedback(connection)]


def test_feedback_on_what_the_retention_of_the_space_has_removed_is_no_stray(database_url: str) -> None:
    given(database_url, "kept", [weeks_ago(10), weeks_ago(9)])
    assert (found(database_url)["kept"].facts, found(database_url)["kept"].expired) == (2, 0)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sona.spaces SET keep_weeks = 2")
    assert (found(database_url)["kept"].facts, found(database_url)["kept"].expired) == (0, 2)
    assert (found(database_url)["kept"].since, doctor(database_url)) == (None, [])
    given(database_url, "kept", [weeks_ago(1), uuid7(), uuid4()])  # the last one tells no time
    assert (found(database_url)["kept"].facts, found(database_url)["kept"].expired) == (3, 2)
    assert "kept: 3 since" in doctor(database_url)[0]


def test_what_maintenance_says_it_has_removed_counts_though_retention_is_longer_now(database_url: str) -> None:
    given(database_url, "one", [weeks_ago(10)])
    given(database_url, "other", [weeks_ago(10)])
    note = (
        "INSERT INTO sona.acts (space_id, act_id, at, act, login, actor, details)"
        " VALUES (%s, gen_random_uuid(), now(), %s, session_user, '', %s)"
    )
    since = f"{datetime.now(UTC) - timedelta(weeks=10):%Y-%m-%d}"
    one = found(database_url)["one"].space_id
    with psycopg.connect(database_url) as connection:
        connection.execute(note, [0, "weeks dropped", f'{{"week": "{since}", "tables": ["steps"]}}'])
    assert {one.expired for one in found(database_url).values()} == {0}
    with psycopg.connect(database_url) as connection:
        connection.execute(note, [one, "facts expired", f'{{"before": "{datetime.now(UTC):%Y-%m-%d}"}}'])
    assert {one.name: one.expired for one in found(database_url).values()} == {"one": 1, "other": 0}
    with psycopg.connect(database_url) as connection:
        connection.execute(note, [0, "weeks dropped", f'{{"week": "{since}", "tables": ["trajectories", "steps"]}}'])
    assert {one.name: one.expired for one in found(database_url).values()} == {"one": 1, "other": 1}


def test_feedback_from_before_an_erasure_is_said_to_be_perhaps_of_it(database_url: str) -> None:
    given(database_url, "erased", [], forget="eve")
    assert (found(database_url)["erased"].facts, found(database_url)["erased"].before_erasure) == (1, 1)
    assert "(1 may be of erased requests)" in doctor(database_url)[0]
    given(database_url, "erased", [uuid7()])
    assert (found(database_url)["erased"].facts, found(database_url)["erased"].before_erasure) == (2, 1)
