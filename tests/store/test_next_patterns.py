"""``sona.next_patterns`` tells how likely a pattern comes next, also of patterns after which little was seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import UUID

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig, PatternConfig

pytestmark = pytest.mark.no_vectors

TOPICS = 8
CONFIG = SonaConfig(
    hidden_dim=TOPICS, loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False),
    patterns=PatternConfig(clusters=TOPICS, min_size=1),
)  # fmt: skip
CLEAR = "DELETE FROM sona.memory_edges WHERE space_id = (SELECT space_id FROM sona.spaces WHERE name = %(space)s)"
FOLLOW = """
INSERT INTO sona.memory_edges (space_id, source_id, target_id, kind, weight, reinforced_at)
SELECT s.space_id, t.source, t.target, 'sequence', 1 - .99 ^ t.times, now()
FROM sona.spaces s, unnest(%(sources)s::uuid[], %(targets)s::uuid[], %(times)s::float8[]) AS t (source, target, times)
WHERE s.name = %(space)s
"""
NEXT = "SELECT pattern_id, next_id, times, confidence, usual FROM sona.next_patterns WHERE space = %s"
Told = Mapping[tuple[int, int], tuple[float, float, float]]  # times, confidence, usual


class Sessions:
    """Successions of the patterns of a space, by number; a test makes them up."""

    def __init__(self, connection: psycopg.Connection, space: str) -> None:
        self.connection, self.space = connection, space
        found = connection.execute("SELECT pattern_id FROM sona.pattern_summary WHERE space = %s ORDER BY 1", [space])
        self.patterns = [row[0] for row in found]

    def told(self, seen: Mapping[tuple[int, int], float]) -> Told:
        """Return what the view tells of successions that were ``seen`` so often."""
        rows = {
            "sources": [self.patterns[one] for one, _ in seen], "targets": [self.patterns[other] for _, other in seen],
            "times": list(seen.values()), "space": self.space,
        }  # fmt: skip
        with self.connection.transaction():  # so that nothing fades meanwhile
            self.connection.execute(CLEAR, rows)
            self.connection.execute(FOLLOW, rows)
            found = self.connection.execute(NEXT, [self.space]).fetchall()
        number = {pattern: place for place, pattern in enumerate(self.patterns)}
        return {
            (number[one], number[other]): (round(times, 4), round(confidence, 6), round(usual, 6))
            for one, other, times, confidence, usual in found
        }


def learned(url: str, space: str) -> None:
    with SonaEngine(TOPICS, url, space, config=CONFIG) as engine:
        for row in range(5 * TOPICS):
            engine.end_trajectory(
                engine.begin_trajectory(np.eye(TOPICS)[row % TOPICS], query=f"topic {row % TOPICS}"), 1.0
            )
        engine.force_learn()


@pytest.fixture
def sessions(database_url: str) -> Iterator[Sessions]:
    learned(database_url, "default")
    with psycopg.connect(database_url, autocommit=True) as connection:
        found = Sessions(connection, "default")
        assert len(found.patterns) == TOPICS
        yield found


def test_a_pair_seen_twice_is_not_sure_and_one_seen_often_is(sessions: Sessions) -> None:
    usual = {(one, other): 5.0 for one in range(2, TOPICS) for other in range(2, TOPICS) if one != other}
    told = sessions.told(usual | {(0, 1): 2.0, (1, 2): 100.0})
    times, confidence, base = told[0, 1]
    assert times == pytest.approx(2, rel=1e-4)
    assert base == pytest.approx((1 + 2) / (TOPICS + 252), rel=1e-4)
    assert base < confidence == pytest.approx((2 + 3 * base) / (2 + 3), rel=1e-4)
    assert confidence < 0.42  # .67 as a share of three
    assert told[1, 2][1] > 0.96


def test_the_confidences_after_a_pattern_leave_the_rest_to_what_was_never_seen(sessions: Sessions) -> None:
    told = sessions.told({(0, 1): 3.0, (0, 2): 1.0, (1, 2): 5.0, (3, 0): 2.0})
    listed = sum(confidence for (one, _), (_, confidence, _) in told.items() if one == 0)
    base = {other: figures[2] for (_, other), figures in told.items()}
    unseen = sum(base.get(other, 1 / (TOPICS + 11)) for other in range(TOPICS) if other not in (1, 2))
    assert sum(base.values()) + 5 / (TOPICS + 11) == pytest.approx(1, rel=1e-4)  # five follow nothing
    assert listed + 3 * unseen / (4 + 3) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("own", [3.0, 10.0, 30.0])
def test_it_is_nearer_to_the_truth_than_shares_after_few_successions(sessions: Sessions, own: float) -> None:
    """The smaller ``own``, the more each pattern has successors of its own; four successions were seen of each.

    Where each pattern is always followed by the same one, four times are underrated: nothing says so yet.
    """
    rng = np.random.default_rng(7)
    off, shares = [], []
    for _ in range(10):
        usual = rng.dirichlet(np.ones(TOPICS))
        others = [np.where(np.arange(TOPICS) == place, 0.0, usual) for place in range(TOPICS)]  # none follows itself
        truth = np.array([rng.dirichlet(own * row / row.sum() + 1e-9) for row in others]) * (1 - np.eye(TOPICS))
        truth /= truth.sum(axis=1, keepdims=True)
        seen = np.array([rng.multinomial(4, row) for row in truth])
        pairs = {(int(one), int(other)): float(seen[one, other]) for one, other in np.argwhere(seen > 0)}
        for pair, (times, confidence, _) in sessions.told(pairs).items():
            off.append(confidence - truth[pair])
            shares.append(times / (1 + 4) - truth[pair])
    error, plain = (float(np.mean(np.square(one))) for one in (off, shares))
    print(
        f"own {own:g}: squared error {error:.4f}, of shares {plain:.4f}; bias {np.mean(off):.3f}, {np.mean(shares):.3f}"
    )
    assert error < plain


def test_another_space_and_what_follows_a_candidate_count_for_nothing(sessions: Sessions, database_url: str) -> None:
    seen = {(0, 1): 3.0, (1, 2): 5.0}
    alone = sessions.told(seen)
    learned(database_url, "other")
    other = Sessions(sessions.connection, "other")
    other.told({(one, 3): 40.0 for one in range(3)})
    again = sessions.told(seen | {})
    assert again == alone
    sessions.patterns[7] = UUID(int=1)  # no pattern
    assert sessions.told({**seen, (7, 2): 30.0}) == alone
