"""Names of topics stay with what they were given to: across versions, merging, learning anew and erasure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig, PatternConfig
from sona_pg.domain.topic import Topic, TopicNames
from sona_pg.errors import InvalidValue, UnknownPattern
from sona_pg.store.admin.maintenance import Maintenance
from sona_pg.store.database import Database

DIM = 8
CONFIG = SonaConfig(
    hidden_dim=DIM, loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False),
    patterns=PatternConfig(clusters=3, min_size=2),
)  # fmt: skip
ONE, OTHER, THIRD = np.eye(DIM, dtype=np.float32)[:3]


def record(engine: SonaEngine, query: np.ndarray, text: str, user: str = "ann", times: int = 6) -> None:
    for _ in range(times):
        trajectory = engine.begin_trajectory(query, query=text)
        engine.add_trajectory_context(trajectory, f"user:{user}")
        engine.end_trajectory(trajectory, 0.9)


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        record(opened, ONE, "where is my parcel?")
        record(opened, OTHER, "I want my money back", "bob")
        opened.force_learn()
        yield opened


def nearest(engine: SonaEngine, query: np.ndarray) -> UUID:
    return engine.find_patterns(query, 1)[0].id


def named(engine: SonaEngine) -> dict[str, UUID | None]:
    return {topic.name: topic.pattern for topic in engine.topics()}


def run(url: str, query: str, *values: object) -> list[tuple]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []


def test_a_name_stays_across_versions_until_it_is_replaced_or_taken_away(engine: SonaEngine) -> None:
    late, refunds = nearest(engine, ONE), nearest(engine, OTHER)
    engine.name_topic(late, "  Late delivery ")
    engine.name_topic(str(refunds), "Refunds")
    record(engine, ONE, "my parcel is late", times=9)
    record(engine, THIRD, "lost password")
    engine.force_learn()
    (first, second) = engine.topics()
    assert (first.name, first.pattern, first.size, first.quality) == ("Late delivery", late, 15, pytest.approx(0.9))
    assert (second.name, second.pattern, second.typical_query) == ("Refunds", refunds, "I want my money back")
    assert first.named_by
    assert first.named_at is not None
    assert engine.rebuild().equal  # it is no part of what is learned
    engine.name_topic(late, "Parcels")
    engine.name_topic(refunds, None)
    assert named(engine) == {"Parcels": late}


def test_a_name_goes_on_with_the_pattern_that_its_own_is_merged_into(engine: SonaEngine, database_url: str) -> None:
    late, refunds = nearest(engine, ONE), nearest(engine, OTHER)
    engine.name_topic(late, "Late delivery")
    run(database_url, "DELETE FROM sona.pattern_routes WHERE pattern_id = %s", late)
    run(database_url, "DELETE FROM sona.patterns WHERE pattern_id = %s", late)
    assert named(engine) == {"Late delivery": None}
    like = "[" + ",".join(map(str, (0.8 * ONE + 0.6 * OTHER).tolist())) + "]"
    merge = "UPDATE sona.patterns SET merged_from = ARRAY[%s::uuid], centroid = %s WHERE pattern_id = %s"
    run(database_url, merge, late, like, refunds)
    assert named(engine) == {"Late delivery": refunds}
    engine.name_topic(refunds, "Deliveries and refunds")
    assert named(engine) == {"Deliveries and refunds": refunds}


def test_a_name_is_found_again_by_its_centroid_and_not_by_the_id_of_another(
    engine: SonaEngine, database_url: str
) -> None:
    late, refunds = nearest(engine, ONE), nearest(engine, OTHER)
    engine.name_topic(late, "Late delivery")
    swap = "UPDATE sona.patterns SET pattern_id = %s WHERE pattern_id = %s"
    free = UUID(int=7)
    for new, old in ((free, late), (late, refunds)):
        run(database_url, swap, new, old)
    assert named(engine) == {"Late delivery": free}


def test_names_follow_patterns_that_move_a_little_at_a_time(engine: SonaEngine, database_url: str) -> None:
    late = nearest(engine, ONE)
    engine.name_topic(late, "Late delivery")
    database = Database.open(database_url)
    for angle in (0.6, 1.2):
        moved = "[" + ",".join(map(str, (np.cos(angle) * ONE + np.sin(angle) * THIRD).tolist())) + "]"
        run(database_url, "UPDATE sona.patterns SET centroid = %s WHERE pattern_id = %s", moved, late)
        list(Maintenance(database.engine, MaintenanceConfig()).run())
        assert named(engine) == {"Late delivery": late}
    database.close()


def test_an_erasure_leaves_the_name_and_no_centroid_that_was_learned_from_the_user(
    engine: SonaEngine, database_url: str, tmp_path: Path
) -> None:
    record(engine, 0.9 * ONE + 0.1 * THIRD, "where is it?", "bob", 2)
    engine.force_learn()
    engine.name_topic(nearest(engine, ONE), "Late delivery")
    engine.name_topic(nearest(engine, OTHER), "Refunds")
    key = tmp_path / "receipt.key"
    key.write_text("0" * 32)
    engine.forget(user="bob", key=key)
    late = nearest(engine, ONE)
    assert named(engine) == {"Late delivery": late, "Refunds": None}
    kept = run(
        database_url,
        "SELECT n.name, n.centroid = p.centroid FROM sona.pattern_names n LEFT JOIN sona.patterns p USING (pattern_id)",
    )
    assert sorted(kept) == [("Late delivery", True), ("Refunds", None)]


def test_sql_names_a_topic_and_refuses_what_is_none(engine: SonaEngine, database_url: str) -> None:
    late = nearest(engine, ONE)
    run(database_url, "SELECT sona.name_topic('default', %s, ' Late delivery ')", late)
    assert run(database_url, "SELECT name, pattern_id, size, typical_query FROM sona.topics") == [
        ("Late delivery", late, 6, "where is my parcel?")
    ]
    with pytest.raises(psycopg.errors.NoDataFound):
        run(database_url, "SELECT sona.name_topic('default', %s, 'x')", UUID(int=1))
    for wrong in ("x" * 101, "two\nlines"):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            run(database_url, "SELECT sona.name_topic('default', %s, %s)", late, wrong)
    run(database_url, "SELECT sona.name_topic('default', %s, NULL)", late)
    assert engine.topics() == []


def test_what_is_no_name_or_no_pattern_is_refused(engine: SonaEngine, database_url: str) -> None:
    late = nearest(engine, ONE)
    for wrong in ("", "  ", "x" * 101, "two\nlines"):
        with pytest.raises(InvalidValue, match="one line"):
            engine.name_topic(late, wrong)
    with pytest.raises(InvalidValue, match="id of a pattern"):
        engine.name_topic("late", "Late delivery")
    with pytest.raises(UnknownPattern):
        engine.name_topic(UUID(int=1), "Late delivery")
    fill = """
        INSERT INTO sona.pattern_names (space_id, pattern_id, name, named_by, named_at)
        SELECT space_id, gen_random_uuid(), 'x', 'tests', now() FROM sona.spaces, generate_series(1, 1000)
    """
    run(database_url, fill)
    with pytest.raises(InvalidValue, match="1000 names"):
        engine.name_topic(late, "Late delivery")


def test_a_merged_pattern_has_all_its_names() -> None:
    live, gone = UUID(int=1), UUID(int=2)

    def topic(name: str, named: UUID) -> Topic:
        return Topic(name, live, 1, 1, 1.0, None, named, "tests", None)  # type: ignore[arg-type]

    names = TopicNames([topic("Late", live), topic("Lost", gone), topic("Late", gone)])
    assert (names.of(live), names.of(gone), names.of(UUID(int=3))) == ("Late, Lost", "Lost, Late", None)
