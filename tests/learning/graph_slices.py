"""Slices of sessions for tests of the memory graph, by the pure step of learning."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from uuid import UUID

import numpy as np

from sona_pg.config import SonaConfig
from sona_pg.config.graph_parts import GraphConfig
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.ledger_slice import LedgerSlice, Outcome, Steps, Trajectories
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import LearnedState
from sona_pg.learning.graph.graph_step import learn_graph
from sona_pg.learning.graph.learned_graph import LearnedGraph
from sona_pg.learning.knowledge import graph_of, initial_state

DIM = 8
DAY = 86_400_000 << 80
CATALOG = Catalog.of([f"d{slot}" for slot in range(DIM)], np.eye(DIM, dtype=np.float32))
BLANK = initial_state(DIM, SonaConfig(hidden_dim=DIM))


@dataclasses.dataclass(frozen=True)
class Turn:
    """One trajectory of a session: asked about topic ``about``, answered by candidate ``answer``."""

    session: str | None
    about: int
    answer: int | None = None
    quality: float | None = 1.0
    correction: str | None = None
    day: float = 0.0
    candidates: int = 0  # number of the candidate set


def pattern_of(topic: int, **changes: object) -> LearnedPattern:
    """Return the pattern of one topic."""
    centroid = np.eye(DIM, dtype=np.float32)[topic]
    whole = {"id": UUID(int=100 + topic), "centroid": centroid, "size": 1, "weight": 1.0, "quality": 1.0}
    return LearnedPattern(**{**whole, **changes})  # type: ignore[arg-type]


PATTERNS = [pattern_of(topic) for topic in range(DIM)]


def trajectories_of(turns: Sequence[Turn]) -> Trajectories:
    """Return the turns as trajectories, a millisecond after each other."""
    count, nan = len(turns), np.full(len(turns), np.nan)
    ids = [int(turn.day * 86_400_000 + row) << 80 | row for row, turn in enumerate(turns)]
    rows = [np.eye(DIM, dtype=np.float32)[turn.about] + 1e-3 * row for row, turn in enumerate(turns)]
    return Trajectories(
        ids=np.array([np.frombuffer(id_.to_bytes(16, "big"), np.uint8) for id_ in ids], np.uint8).reshape(-1, 16),
        embeddings=np.array(rows, np.float32).reshape(count, DIM),
        quality=nan, latency_us=nan, propensity=nan, cost=nan, paid=nan, lowest_reward=nan,
        candidate_sets=np.array([turn.candidates for turn in turns], np.int64),
        features=np.zeros((count, 0), np.float32),
        routes=[None if turn.answer is None else f"d{turn.answer}" for turn in turns],
        queries=[None] * count, parameters=[None] * count,
        sessions=[None if turn.session is None else f"session:{turn.session}" for turn in turns],
    )  # fmt: skip


def slice_of(turns: Sequence[Turn], revised: Sequence[tuple[Turn, Turn]] = ()) -> LedgerSlice:
    """Return a slice of new turns, and of earlier ones with their outcomes before and after."""
    fresh, earlier = trajectories_of(turns), trajectories_of([old for old, _ in revised])
    return LedgerSlice(
        batches=[1], fresh=fresh, steps=no_steps(), outcomes=[outcome_of(turn) for turn in turns],
        revised=earlier, before=[outcome_of(old) for old, _ in revised], after=[outcome_of(new) for _, new in revised],
        feedback=0, waiting=0, unreadable=[], revised_steps=no_steps(),
    )  # fmt: skip


def no_steps() -> Steps:
    """Return no steps."""
    return Steps(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, DIM), np.float32), np.zeros(0, np.bool_))


def outcome_of(turn: Turn) -> Outcome:
    """Return the outcome of a turn."""
    return Outcome(turn.quality, turn.correction)


def after(
    claimed: LedgerSlice,
    state: LearnedState = BLANK,
    patterns: Sequence[LearnedPattern] = PATTERNS,
    config: GraphConfig | None = None,
    sets: Mapping[int, Sequence[str]] | None = None,
) -> LearnedState:
    """Return the state after a slice, as far as the memory graph is concerned."""
    version = state.version + 1
    arrays = learn_graph(state, claimed, patterns, CATALOG, sets or {}, config or GraphConfig(), version)
    return dataclasses.replace(state, version=version, arrays=arrays)


def learned(claimed: LedgerSlice, state: LearnedState = BLANK, **arguments: object) -> LearnedGraph:
    """Return the graph after a slice."""
    return graph_of(after(claimed, state, **arguments))  # type: ignore[arg-type]


def weights(graph: LearnedGraph, patterns: Sequence[LearnedPattern] = PATTERNS) -> dict[tuple[str, str, int], float]:
    """Return the weight of each edge by the names of its ends and its kind; a pattern is called by its topic."""
    topics = {f"pattern/{pattern.id}": f"p{pattern.id.int - 100}" for pattern in patterns}
    names = [topics.get(name, name.removeprefix("candidate/")) for name in graph.names(CATALOG)]
    edges = graph.edges
    pairs = zip(edges.source.tolist(), edges.target.tolist(), edges.kind.tolist(), edges.weight.tolist(), strict=True)
    return {(names[source], names[target], kind): weight for source, target, kind, weight in pairs}
