"""Verdicts through the store: counted per pattern and route, kept when outcomes change, readable in SQL."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import numpy as np
import psycopg
import pytest
from psycopg.rows import dict_row

from sona_pg import InvalidValue, SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, PatternConfig

DIM = 8
GOOD, BAD = np.eye(DIM, dtype=np.float32)[:2]
CONFIG = SonaConfig(loops=LoopConfig(automatic=False), patterns=PatternConfig(min_size=2))


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def record(
    engine: SonaEngine, x: np.ndarray, quality: float | None, route: str, query: str, reward: float = 0.0
) -> UUID:
    t = engine.begin_trajectory(x, query=query)
    engine.add_step(t, x, None, reward)
    engine.set_trajectory_route(t, route)
    engine.end_trajectory(t, quality)
    return t.id


def two_patterns(engine: SonaEngine) -> dict[str, UUID]:
    """One pattern that goes well on route a, and one that fails on route b."""
    ids = {}
    for row in range(6):
        ids[f"good {row}"] = record(engine, GOOD, 0.9, "a", f"explain the equation {row}")
        ids[f"bad {row}"] = record(engine, BAD, 0.1 if row < 4 else 0.5, "b", f"write me a poem {row}")
    ids["stumbled"] = record(engine, GOOD, 1.0, "a", "explain it", -1.0)
    ids["unrated"] = record(engine, BAD, None, "b", "a song")
    engine.force_learn()
    return ids


def counts(engine: SonaEngine, x: np.ndarray) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
    """Success, recovered, partial, failure of the nearest pattern, and of its routes."""
    [found] = engine.find_patterns(x, 1)
    return found.verdicts.counts, {route: record.verdicts.counts for route, record in found.routes.items()}


def test_verdicts_are_counted_per_pattern_and_route(engine: SonaEngine) -> None:
    two_patterns(engine)
    assert counts(engine, GOOD) == ((6, 1, 0, 0), {"a": (6, 1, 0, 0)})
    assert counts(engine, BAD) == ((0, 0, 2, 4), {"b": (0, 0, 2, 4)})


def test_a_changed_outcome_moves_its_trajectory_from_one_verdict_to_another(engine: SonaEngine) -> None:
    ids = two_patterns(engine)
    engine.feedback(ids["bad 0"], quality=1.0)  # failed at its end: recovered
    engine.feedback(ids["bad 5"], quality=0.8)  # partial before: a success
    engine.feedback(ids["unrated"], quality=0.0, source="judge")
    engine.feedback(ids["good 0"], quality=0.0)
    engine.force_learn()
    assert counts(engine, GOOD) == ((5, 1, 0, 1), {"a": (5, 1, 0, 1)})
    assert counts(engine, BAD) == ((1, 1, 1, 4), {"b": (1, 1, 1, 4)})
    engine.feedback(ids["bad 0"], retract=True)
    engine.feedback(ids["unrated"], quality=1.0, source="judge")  # a fact of 0, replaced: recovered
    engine.feedback(ids["good 0"], retract=True)
    engine.feedback(ids["good 0"], quality=1.0)  # a retracted fact does not count: a success
    engine.force_learn()
    assert counts(engine, GOOD) == ((6, 1, 0, 0), {"a": (6, 1, 0, 0)})
    assert counts(engine, BAD) == ((1, 1, 1, 4), {"b": (1, 1, 1, 4)})
    assert engine.rebuild().equal


FILTERS = [
    ({}, {}, [GOOD, BAD]),
    ({"min_quality": 0.8}, {"min_quality": 0.8}, [GOOD]),
    ({"kind": "creative"}, {"of_kind": "creative"}, [BAD]),
    ({"kind": "reasoning"}, {"of_kind": "reasoning"}, [GOOD]),
    ({"kind": "code"}, {"of_kind": "code"}, []),
    ({"route": "b"}, {"of_route": "b"}, [BAD]),
    ({"route": "never"}, {"of_route": "never"}, []),
    ({"verdict": "success"}, {"of_verdict": "success"}, [GOOD]),
    ({"verdict": "failure"}, {"of_verdict": "failure"}, [BAD]),
    ({"verdict": "recovered"}, {"of_verdict": "recovered"}, []),
    ({"verdict": "failure", "route": "a"}, {"of_verdict": "failure", "of_route": "a"}, []),
]


@pytest.mark.every_server
def test_every_filter_finds_the_same_in_memory_and_in_sql(engine: SonaEngine, database_url: str) -> None:
    two_patterns(engine)
    for asked, in_sql, expected in FILTERS:
        found = engine.find_patterns(GOOD, 5, **asked)  # type: ignore[arg-type]
        assert [int(np.argmax(item.centroid)) for item in found] == [int(np.argmax(x)) for x in expected], asked
        arguments = "".join(f", {name} => %({name})s" for name in in_sql)
        with psycopg.connect(database_url, row_factory=dict_row) as connection:
            rows = connection.execute(
                f"SELECT * FROM sona.find_patterns('default', %(x)s{arguments})",  # type: ignore[arg-type]
                {"x": str(GOOD.tolist()), **in_sql},
            ).fetchall()
        assert [row["pattern_id"] for row in rows] == [item.id for item in found], asked
        for row, item in zip(rows, found, strict=True):
            assert row["similarity"] == pytest.approx(item.similarity, abs=1e-6)
            assert (row["verdict"], row["kind"], row["size"]) == (item.verdict, item.kind, item.size)
            assert row["typical_queries"] == list(item.typical_queries)


def test_the_summary_view_shows_verdicts_of_patterns_and_routes(engine: SonaEngine, database_url: str) -> None:
    two_patterns(engine)
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT verdict, verdicts, routes FROM sona.pattern_summary WHERE space = 'default' ORDER BY quality"
        ).fetchall()
    assert [row[0] for row in rows] == ["failure", "success"]
    assert rows[0][1] == {"success": 0, "recovered": 0, "partial": 2, "failure": 4}
    assert {name: rows[1][2]["a"][name] for name in ("success", "recovered", "size")} == {
        "success": 6, "recovered": 1, "size": 7,
    }  # fmt: skip


@pytest.mark.parametrize("asked", [{"kind": "poetry"}, {"verdict": "good"}, {"min_quality": np.nan}])
def test_a_filter_that_nothing_can_pass_is_refused_by_name(engine: SonaEngine, asked: dict) -> None:
    with pytest.raises(InvalidValue, match=next(iter(asked))):
        engine.find_patterns(GOOD, **asked)
