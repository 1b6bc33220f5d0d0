"""SQL functions give the engine's numbers, say what is wrong with an argument, and what they record is learned."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest
from fix_ledger import Ledger, maintain, weeks_ago

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.config import MaintenanceConfig

DIM = 6
CONFIG = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    """An engine that has learned from two kinds of question."""
    rng = np.random.default_rng(0)
    with SonaEngine(DIM, database_url, "support", config=CONFIG) as engine:
        for row in range(80):
            x = (np.eye(DIM)[row % 2] + 0.1 * rng.standard_normal(DIM)).astype(np.float32)
            t = engine.begin_trajectory(x, query=f"question {row}")
            engine.add_step(t, x + 0.3 * np.eye(DIM)[2], None, 1.0)
            engine.set_trajectory_route(t, ["small", "large"][row // 2 % 2])
            engine.end_trajectory(t, [0.9, 0.2][row // 2 % 2])
        engine.force_learn()
        yield engine


def ask(engine: SonaEngine, query: str, *values: object) -> list[tuple]:
    with psycopg.connect(engine.url) as connection:
        return connection.execute(query, values).fetchall()  # type: ignore[call-overload]


def text(x: np.ndarray) -> str:
    return str(np.asarray(x, float).tolist())


@pytest.mark.parametrize(
    ("filters", "given"),
    [
        ("", {}),
        (", min_quality => 0.5", {"min_quality": 0.5}),
        (", of_route => 'large'", {"route": "large"}),
        (", of_verdict => 'failure'", {"verdict": "failure"}),
        (", of_kind => 'general'", {"kind": "general"}),
    ],
)
def test_patterns_are_found_as_by_the_engine(engine: SonaEngine, filters: str, given: dict) -> None:
    x = np.random.default_rng(1).standard_normal(DIM).astype(np.float32)
    found = ask(
        engine, f"SELECT similarity, pattern_id, quality FROM sona.find_patterns('support', %s, 50{filters})", text(x)
    )
    expected = engine.find_patterns(x, 50, **given)
    assert [row[1] for row in found] == [pattern.id for pattern in expected]
    assert [row[0] for row in found] == pytest.approx([pattern.similarity for pattern in expected], abs=1e-5)
    assert [row[2] for row in found] == pytest.approx([pattern.quality for pattern in expected])


def test_trajectories_are_found_as_by_the_engine(engine: SonaEngine) -> None:
    x = np.random.default_rng(2).standard_normal(DIM).astype(np.float32)
    since = datetime.now(UTC) - timedelta(days=1)
    for filters, given in (
        ("", {}),
        (", of_route => 'small', min_quality => 0.5", {"route": "small", "min_quality": 0.5}),
        (", since => now() - interval '1 day'", {"since": since}),
    ):
        found = ask(
            engine,
            f"SELECT trajectory_id, similarity, quality FROM sona.similar_trajectories('support', %s, 7{filters})",
            text(x),
        )
        expected = engine.search(x, k=7, **given)
        assert [row[0] for row in found] == [one.id for one in expected]
        assert [row[1] for row in found] == pytest.approx([one.similarity for one in expected], abs=1e-5)
        assert [row[2] for row in found] == pytest.approx([one.quality for one in expected])


def test_the_good_ones_are_found_however_few_they_are(engine: SonaEngine) -> None:
    """The newest and the nearest 1,000 hold two, a wider search three; for k = 50 everything is judged first."""
    t = engine.begin_trajectory(np.eye(DIM)[5].astype(np.float32), query="pattern")
    engine.end_trajectory(t, 0.25)
    engine.flush()
    said = """
        INSERT INTO sona.trajectories (space_id, id, batch, policy_version, step_count, embedding, quality, route)
        SELECT t.space_id, sona.uuid_floor(now() - n * interval '1 second'), t.batch, t.policy_version, 0,
               ARRAY[0, 0, 0, 0, 1, n / 1500.0]::vector::halfvec, %s, 'small'
        FROM sona.trajectories t, generate_series(1::int, 1500) n WHERE t.id = %s
    """
    with psycopg.connect(engine.url) as connection:
        connection.execute(said, [0.2, t.id])
        judged = """
            INSERT INTO sona.feedback
                (space_id, trajectory_id, source, sequence, batch, recorded_at, quality, correction)
            SELECT t.space_id, t.id, s, 1, t.batch, now(), CASE WHEN s = 'user' THEN 1 END,
                   CASE WHEN s = 'audit' THEN 'small' END
            FROM sona.trajectories t, unnest(%s::text[]) s WHERE t.step_count = 0
              AND t.id = sona.uuid_floor(now() - %s * interval '1 second')
        """
        for n, sources in ((1499, ["user", "audit"]), (20, ["user"]), (21, ["audit"])):
            assert connection.execute(judged, [sources, n]).rowcount == len(sources)
        x, by = (
            "[0,0,0,0,1,0]",
            "SELECT quality FROM sona.similar_trajectories('support', %s, %s, min_quality => %s) WHERE",
        )
        by += " query_text IS NULL"
        for k, expected in ((1, 1), (2, 2), (3, 3), (50, 3), (2000, 3)):
            assert connection.execute(by, [x, k, 0.95]).fetchall() == [(1.0,)] * expected, k
        assert len(connection.execute(by, [x, 2000, 0.2]).fetchall()) == 1500
        connection.rollback()


@pytest.mark.not_on_citus("workers count the scans of their shards' indexes")
def test_sealed_weeks_are_searched_by_their_index(ledger: Ledger) -> None:
    space = ledger.space("sealed", 8)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 8)).astype(np.float32)
    for ago in (0, 1, 2):
        ledger.ensure(weeks_ago(ago))
        ledger.fill(space, vectors[100 * ago : 100 * ago + 100], weeks_ago(ago))
    maintain(ledger)
    ledger.execute(
        "UPDATE sona.sealed_weeks SET trajectories = 100000, indexed = 100000 WHERE space_id = %s", space.space_id
    )
    x = rng.standard_normal(8)
    query = "SELECT trajectory_id, similarity FROM sona.similar_trajectories('sealed', %s, 20, exact => %s)"
    assert ledger.rows(query, text(x), False) == ledger.rows(query, text(x), True)
    with psycopg.connect(ledger.url) as connection:
        connection.execute(query, [text(x), False])
        used = connection.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE 'trajectories%hnsw' AND pg_stat_get_xact_numscans(oid) > 0"
        ).fetchall()
        settings = (
            connection.execute("SHOW enable_sort").fetchall() + connection.execute("SHOW hnsw.ef_search").fetchall()
        )
    assert len(used) == 2
    assert settings == [("on",), ("40",)]  # as they were


def test_of_equally_near_trajectories_the_first_are_found_and_other_dimensions_none(ledger: Ledger) -> None:
    space = ledger.space("equal", 8)
    ledger.ensure(weeks_ago(0))
    ledger.fill(space, np.ones((300, 8), np.float32), weeks_ago(0))
    ledger.fill(space, np.ones((3, 5), np.float32), weeks_ago(0))
    found = ledger.rows("SELECT trajectory_id FROM sona.similar_trajectories('equal', %s, 7)", text(np.ones(8)))
    of_space = "SELECT id FROM sona.trajectories WHERE space_id = %s AND vector_dims(embedding) = 8 ORDER BY id LIMIT 7"
    assert found == ledger.rows(of_space, space.space_id)


def test_trajectories_of_a_pattern_are_nearest_to_it(engine: SonaEngine) -> None:
    pattern = engine.find_patterns(np.eye(DIM)[0], 1)[0]
    found = ask(engine, "SELECT trajectory_id, similarity FROM sona.pattern_trajectories('support', %s, 5)", pattern.id)
    assert len(found) == 5
    for id_, _ in found:
        ((vector,),) = ask(engine, "SELECT embedding::real[] FROM sona.trajectories WHERE id = %s", id_)
        assert engine.find_patterns(np.asarray(vector), 1)[0].id == pattern.id
    with pytest.raises(psycopg.errors.NoDataFound, match="has no pattern"):
        ask(engine, "SELECT * FROM sona.pattern_trajectories('support', %s)", uuid4())


def test_adapters_move_a_vector_as_in_the_engine(engine: SonaEngine) -> None:
    x = np.random.default_rng(3).standard_normal(DIM).astype(np.float32)
    assert engine.refresh() == 1
    ((micro, base, before),) = ask(
        engine, "SELECT sona.apply_micro_lora('support', %s)::real[], sona.apply_base_lora('support', 0, %s)::real[],"
        " sona.apply_base_lora('support', 0, %s, 0)::real[]", *[text(x)] * 3,
    )  # fmt: skip
    assert base == pytest.approx(engine.apply_base_lora(0, x), abs=1e-5)
    assert not np.allclose(base, x, atol=1e-4)
    assert before == pytest.approx(x, abs=1e-6)
    ((a, b, scale),) = ask(
        engine, "SELECT sona.reals_of(a), sona.reals_of(b), scale FROM sona.adapters WHERE kind = 'micro'"
        " ORDER BY version DESC LIMIT 1",
    )  # fmt: skip
    a, b = (np.asarray(values, np.float32).reshape(-1, DIM) for values in (a, b))
    assert micro == pytest.approx(x + scale * b.T @ (a @ x), abs=1e-5)


def test_floats_are_read_to_the_bit(database_url: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**32, 500, np.uint32).view(np.float32)
    values = np.append(values[np.isfinite(values)], np.float32([0, -1, 1e-45, 3.4e38, 1.1754942e-38]))
    with psycopg.connect(database_url) as connection:
        ((read,),) = connection.execute("SELECT sona.reals_of(%s)", [values.astype("<f4").tobytes()]).fetchall()
    assert np.asarray(read, np.float32).tobytes() == values.tobytes()


def test_what_sql_records_is_learned_like_any_other(engine: SonaEngine) -> None:
    x = text(np.eye(DIM)[4])
    told = "SELECT sona.record_trajectory('support', %s, route => 'small') FROM generate_series(1, 20)"
    ids = [id_ for (id_,) in ask(engine, told, x)]
    ask(engine, "SELECT sona.record_feedback('support', id, 1, 'audit') FROM unnest(%s) AS id", ids)
    result = engine.force_learn()
    assert (result.trajectories, result.feedback) == (20, 20)
    found = engine.find_patterns(np.eye(DIM)[4], 1)[0]
    assert found.similarity > 0.99
    assert found.quality > 0.9
    assert engine.rebuild().equal
    ((cycles,),) = ask(engine, "SELECT count(*) FROM sona.batches WHERE cycle_id IS NULL")
    assert cycles == 0


def test_a_record_told_again_is_not_recorded_again(engine: SonaEngine) -> None:
    id_ = uuid4()
    x = text(np.eye(DIM)[0])
    for _ in range(2):
        assert ask(engine, "SELECT sona.record_trajectory('support', %s, id => %s)", x, id_) == [(id_,)]
        assert ask(engine, "SELECT sona.record_feedback('support', %s, 1, sequence => 7)", id_) == [(7,)]
    assert ask(engine, "SELECT count(*) FROM sona.trajectories WHERE id = %s", id_) == [(1,)]
    assert ask(engine, "SELECT source, quality FROM sona.feedback WHERE trajectory_id = %s", id_) == [("user", 1.0)]
    assert ask(
        engine, "SELECT sum(trajectories), sum(feedback) FROM sona.batches WHERE server_id::text LIKE '%%73716c%%'"
    ) == [(1, 1)]


def test_logs_of_last_month_are_recorded_in_last_month(engine: SonaEngine) -> None:
    at = datetime.now(UTC) - timedelta(days=30)
    ((id_,),) = ask(engine, "SELECT sona.record_trajectory('support', %s, started_at => %s)", text(np.eye(DIM)[0]), at)
    assert UUID(str(id_)).version == 7
    assert ask(engine, "SELECT abs(extract(epoch FROM sona.uuid_time(%s) - %s)) < 0.002", id_, at) == [(True,)]


def test_counters_include_what_sql_has_recorded(engine: SonaEngine) -> None:
    totals = engine.metrics()["totals"]
    id_ = ask(engine, "SELECT sona.record_trajectory('support', %s)", text(np.eye(DIM)[0]))[0][0]
    ask(engine, "SELECT sona.record_feedback('support', %s, cost => 0.5)", id_)
    from sona_pg.store.admin import retention
    from sona_pg.store.database import Database

    database = Database.open(engine.url)
    try:
        space = database.find_space("support")
        now = database.totals(space)
        assert (now["trajectories"], now["feedback"]) == (totals["trajectories"] + 1, totals["feedback"] + 1)
        with psycopg.connect(engine.url) as connection:  # and after its markers are deleted
            connection.execute("UPDATE sona.batches SET cycle_id = %s, last_id = NULL", [uuid4()])
            assert (
                retention.compact(connection, space.space_id, datetime.now(UTC) + timedelta(days=1), datetime.now(UTC))
                > 1
            )
            connection.commit()
        assert database.totals(space) == now | {"waiting": 0}
    finally:
        database.close()


def test_another_server_weighs_a_judgement_from_sql_at_once(engine: SonaEngine) -> None:
    with psycopg.connect(engine.url, autocommit=True) as listener:
        listener.execute("LISTEN sona_judged")
        ask(engine, "SELECT sona.record_feedback('support', %s, correction => 'large')", uuid4())
        (notice,) = listener.notifies(timeout=5, stop_after=1)
    ((batch,),) = ask(engine, "SELECT batch FROM sona.feedback WHERE correction = 'large'")
    assert notice.payload.split()[1] == str(batch)


X = "'[1,0,0,0,0,0]'"
WRONG = [
    ("find_patterns('nowhere', '[1]')", "there is no space 'nowhere'"),
    ("find_patterns('support', '[1,0]')", "query has 2 dimensions, space 'support' has 6"),
    ("find_patterns('support', '[0,0,0,0,0,0]')", "all 0"),
    ("find_patterns('support', NULL)", "query is null"),
    (f"find_patterns('support', {X}, -1)", "k=-1"),
    (f"find_patterns('support', {X}, NULL)", "k="),
    (f"find_patterns('support', {X}, 1, 1.5)", "min_quality=1.5"),
    (f"find_patterns('support', {X}, of_kind => 'odd')", "of_kind='odd'"),
    (f"find_patterns('support', {X}, of_verdict => 'odd')", "of_verdict='odd'"),
    (f"similar_trajectories('support', {X}, 0)", "k=0"),
    ("similar_trajectories('support', '[1]')", "has 1 dimensions"),
    (f"similar_trajectories('support', {X}, min_quality => -1)", "min_quality=-1"),
    ("record_trajectory('support', '[1]')", "embedding has 1 dimensions"),
    (f"record_trajectory('support', {X}, 1.5)", "quality=1.5"),
    (f"record_trajectory('support', {X}, 'NaN')", "quality=NaN"),
    (f"record_trajectory('support', {X}, route => '')", "route has 0 bytes"),
    (f"record_trajectory('support', {X}, latency_us => -1)", "latency_us=-1"),
    (f"record_trajectory('support', {X}, cost => 'infinity')", "cost=Infinity"),
    (f"record_trajectory('support', {X}, parameters => '[1]')", "JSON array"),
    (f"record_trajectory('support', {X}, parameters => '{{\"a\": \"b\"}}')", "no numbers"),
    (f"record_trajectory('support', {X}, context => ARRAY[NULL])", "context has a null"),
    (f"record_trajectory('support', {X}, started_at => '2400-01-01')", "started_at="),
    ("record_feedback('support', NULL, 1)", "trajectory_id is null"),
    ("record_feedback('support', gen_random_uuid())", "says nothing"),
    ("record_feedback('support', gen_random_uuid(), 2)", "quality=2"),
    ("record_feedback('support', gen_random_uuid(), 1, retract => true)", "a retraction takes no"),
    ("record_feedback('support', gen_random_uuid(), 1, '')", "source or correction"),
    ("record_feedback('nowhere', gen_random_uuid(), 1)", "there is no space"),
    ("apply_micro_lora('support', '[1]')", "x has 1 dimensions"),
    (f"apply_base_lora('support', 1, {X})", "layer is 1, expected 0 to 0"),
    (f"apply_base_lora('support', 0, {X}, 99)", "has no version 99"),
]


def test_wrong_arguments_are_named(engine: SonaEngine) -> None:
    with psycopg.connect(engine.url, autocommit=True) as connection:
        for call, message in WRONG:
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(f"SELECT * FROM sona.{call}".encode())
            assert message in str(caught.value), call
        ((stored,),) = connection.execute("SELECT count(*) FROM sona.batches WHERE server_id::text LIKE '%73716c%'")
    assert stored == 0


def test_views_of_learning_tell_what_was_learned(engine: SonaEngine) -> None:
    curve = ask(
        engine, "SELECT version, learned_trajectories, small_sample FROM sona.learning_curve WHERE space = 'support'"
    )
    assert (1, 80, True) in curve
    (changes,) = ask(engine, "SELECT trajectories, patterns, base_norm > 0, in_force FROM sona.cycle_changes")
    assert changes == (80, len(engine.find_patterns(np.eye(DIM)[0], 99)), True, True)
    norms = ask(engine, "SELECT kind, norm FROM sona.adapter_norms WHERE status = 'live'")
    assert {kind for kind, _ in norms} == {"micro", "base"}
    best = ask(engine, "SELECT DISTINCT route FROM sona.routes_by_pattern WHERE is_best")
    assert best == [("small",)]
    assert {row[0] for row in ask(engine, "SELECT best_route FROM sona.pattern_summary")} <= {"small", None}
    assert ask(engine, "SELECT * FROM sona.failed_cycles") == []
