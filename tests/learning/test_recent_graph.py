"""Recent evidence in the memory graph: counted as the cycle that learns it will count it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from sona_pg.config.graph_parts import GraphConfig
from sona_pg.domain.ledger_slice import LedgerSlice
from sona_pg.domain.memory import EdgeKind
from sona_pg.domain.state import LearnedState
from sona_pg.learning.graph.expectation import Expectation
from sona_pg.learning.graph.open_sessions import sessions_from
from sona_pg.learning.graph.recent_graph import with_recent
from sona_pg.learning.knowledge import graph_of
from tests.learning.graph_slices import BLANK, CATALOG, PATTERNS, Turn, after, slice_of, weights

HALF_LIFE = GraphConfig().half_life
SETS = {7: ["d0", "d1", "d2"]}
Weights = dict[tuple[str, str, int], float]


def beside(state: LearnedState, recent: LedgerSlice, sets: Mapping[int, Sequence[str]] = SETS) -> Expectation:
    """Return the graph of a state with a slice that it has not learned."""
    graph = graph_of(state)
    learned = Expectation.of(graph, PATTERNS, CATALOG, graph.now, HALF_LIFE)
    ends = sessions_from(state.arrays["sessions"]) if "sessions" in state.arrays else {}
    return with_recent(learned, ends, recent, PATTERNS, CATALOG, sets, HALF_LIFE, state.version)


def of_use(of: Weights) -> Weights:
    return {edge: weight for edge, weight in of.items() if edge[2] == EdgeKind.CO_ACTIVATION}


LEARNED = [Turn("s", 0, 0), Turn("s", 1, 1), Turn("t", 0, 2, 0.0), Turn("t", 2, 2, candidates=7)]
RECENT = [
    Turn("s", 2, 2, day=0.5),  # goes on after what was learned
    Turn("t", 0, 0, candidates=7, day=0.5),  # d2 was retrieved, and not used
    Turn("t", 0, 3, 0.0, correction="d1", day=0.5),
    Turn("u", 4, 4, 0.0, day=0.5),
    Turn("u", 5, 5, day=0.5),  # a pattern and a candidate without a node
]


@pytest.mark.parametrize("learned", [LEARNED, []], ids=["after a version", "before any"])
def test_uses_count_at_once_as_the_next_version_counts_them(learned: list[Turn]) -> None:
    state = after(slice_of(learned), sets=SETS) if learned else BLANK
    told = beside(state, slice_of(RECENT))
    expected = graph_of(after(slice_of(RECENT), state, sets=SETS))
    assert of_use(weights(told.graph)) == pytest.approx(of_use(weights(expected)), abs=1e-6)
    assert len(told.strength) == len(told.graph.edges)
    assert told.embeddings == pytest.approx(
        told.graph.embeddings(np.arange(len(told.graph)), PATTERNS, CATALOG), abs=1e-6
    )
    before, sequence = weights(graph_of(state)), EdgeKind.SEQUENCE
    assert {edge for edge in weights(told.graph) if edge[2] == sequence} == {e for e in before if e[2] == sequence}
    assert weights(graph_of(state)) == before, "the version is as it was"


def test_a_changed_outcome_takes_its_learned_use_back() -> None:
    first, second = Turn("s", 0, 0), Turn("s", 0, 0, 0.0)
    state = after(slice_of([first]))
    revised = slice_of([], [(first, second)])
    told, expected = beside(state, revised), graph_of(after(revised, state))
    assert weights(told.graph)["p0", "d0", EdgeKind.CO_ACTIVATION] == pytest.approx(0.0, abs=1e-7)
    assert ("p0", "d0", EdgeKind.CO_ACTIVATION) not in weights(expected), "the cycle drops it"


def test_new_nodes_are_joined_to_those_nearest_to_them() -> None:
    state = after(slice_of([Turn("s", 0, 0)]))
    told = weights(beside(state, slice_of([Turn("s", 0, 1, day=0.1), Turn("s", 1, 1, day=0.1)])).graph)
    assert told["p1", "d1", EdgeKind.SIMILARITY] == pytest.approx(1.0, abs=1e-3)
    assert told["d1", "p1", EdgeKind.SIMILARITY] == told["p1", "d1", EdgeKind.SIMILARITY]
    graph = beside(state, slice_of([Turn("s", 1, 1, day=0.1)])).graph
    edges = graph.edges
    codes = list(zip(edges.source.tolist(), edges.kind.tolist(), edges.target.tolist(), strict=True))
    assert codes == sorted(set(codes)), "edges are in their order, each once"
    assert edges.starts.tolist() == np.searchsorted(edges.source, np.arange(len(graph) + 1)).tolist()
