"""One deep step, as a pure function from knowledge to the next knowledge: dreams, consolidation, folded EWC tasks.

It knows neither clock nor store. Its moment is given, and so is how far it goes: where a round was left, and after how
many units of work it ends. So a rebuild repeats a step that ran out of time to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sona_pg.config import SonaConfig
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.memory import MemoryNode, NodeKind
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import Arrays, FisherSnapshot, LearnedState
from sona_pg.learning.adapters.adapter_step import protection
from sona_pg.learning.graph.communities import grouped
from sona_pg.learning.graph.consolidation import Limits
from sona_pg.learning.graph.deep_round import Extent, Position, Rounded, run_round
from sona_pg.learning.graph.learned_graph import NO_COMMUNITY, LearnedGraph
from sona_pg.learning.graph.memory_graph import MemoryGraph
from sona_pg.learning.knowledge import Knowledge, graph_of, seed_of

PART = "deep"  # of a state: where the next deep step goes on
UNRATED = 0.5  # importance of a pattern without a rating
MERGED = frozenset({NodeKind.TRAJECTORY})  # patterns and candidates are distinct answers


@dataclass(frozen=True, slots=True, eq=False)
class DeepStep:
    """The knowledge after a deep step, and its changes."""

    knowledge: Knowledge
    rounded: Rounded
    communities: int  # that have nodes
    new_fisher: Sequence[FisherSnapshot]
    faded: Sequence[FisherSnapshot]  # protected tasks that became one


def deepen(
    before: Knowledge, catalog: Catalog, config: SonaConfig, version: int, now: float, extent: Extent
) -> DeepStep:
    """Return the knowledge of ``version`` after a deep step.

    Args:
        before: the knowledge of the live version.
        catalog: the candidates that it names.
        config: of the space.
        version: the number of the version being made; with the configured seed it fixes every random draw.
        now: days since 1970.
        extent: the part of a round to do; its start is ``position_of`` the state.
    """
    state = before.state
    learned = graph_of(state)
    limits = Limits(config.graph.half_life, config.graph.degree, config.graph.nodes, by_kind=True, merged=MERGED)
    seed = seed_of(config, version)
    # No name holds the opened graph: a round replaces it, and its embeddings take 100 MB at 100,000 nodes.
    rounded = run_round(_opened(before, learned, catalog, config, now), config.dreams, limits, now, seed, extent)
    kept, communities = before.fisher, 0
    arrays: dict[str, Arrays] = {**state.arrays, PART: _as_arrays(rounded.next)}
    if len(rounded.graph):
        graph = LearnedGraph.closed(rounded.graph, catalog, version, learned)
        graph = grouped(graph, now, limits.half_life) if rounded.finished else graph
        communities = len(np.unique(graph.communities[graph.communities != NO_COMMUNITY]))
        arrays["graph"] = graph.to_arrays()
    if rounded.finished:
        kept, ewc = folded_tasks(before, config)
        arrays = {**arrays, "ewc": ewc} if ewc else arrays
    made = LearnedState(
        version=version,
        parent=state.version,
        micro=state.micro,
        base=state.base,
        routes=state.routes,
        arrays={
            part: {name: np.asarray(value, order="C") for name, value in of.items()} for part, of in arrays.items()
        },
        metrics=state.metrics,
    )
    return DeepStep(
        knowledge=Knowledge(made, before.patterns, kept),
        rounded=rounded,
        communities=communities,
        new_fisher=[snapshot for snapshot in kept if snapshot not in before.fisher],
        faded=[snapshot for snapshot in before.fisher if snapshot not in kept],
    )


def _opened(before: Knowledge, learned: LearnedGraph, catalog: Catalog, config: SonaConfig, now: float) -> MemoryGraph:
    opened = learned.opened(before.patterns, catalog)
    return with_patterns(opened, before.patterns, now) if config.graph.nodes else opened


def with_patterns(graph: MemoryGraph, patterns: Sequence[LearnedPattern], now: float) -> MemoryGraph:
    """Return the graph with a node for each of ``patterns`` that has a direction."""
    known = set(graph.ids)
    fresh = [
        MemoryNode(
            id=f"pattern/{pattern.id}",
            embedding=pattern.centroid,
            importance=pattern.quality if pattern.rated else UNRATED,
            kind=NodeKind.PATTERN,
            access_count=pattern.size,
            last_accessed=now,
        )
        for pattern in patterns
        if f"pattern/{pattern.id}" not in known and pattern.centroid.any()
    ]
    return graph.extended(fresh) if fresh else graph


def folded_tasks(before: Knowledge, config: SonaConfig) -> tuple[Sequence[FisherSnapshot], Arrays]:
    """Return the protected tasks of the trained layer as one, and the arrays of its EWC (`consolidate_all_tasks`)."""
    layer, arrays = before.state.base[0], before.state.arrays.get("ewc", {})
    ewc = protection(layer, arrays, before.fisher, config)
    folded = ewc.consolidate_all_tasks()
    own = [item for item in before.fisher if folded is not None and _is_like(item, folded)]
    if folded is None or len(own) < 2:
        return before.fisher, arrays
    others = [item for item in before.fisher if item not in own]
    return sorted([*others, folded], key=lambda item: (item.task, item.layer)), ewc.to_arrays()


def _is_like(one: FisherSnapshot, other: FisherSnapshot) -> bool:
    same = one.layer == other.layer and one.kind == other.kind
    return same and len(one.fisher) == len(other.fisher) and len(one.optimum) == len(other.optimum)


def position_of(state: LearnedState) -> Position:
    """Return where the next deep step goes on."""
    if PART not in state.arrays:
        return Position()
    stage, done = state.arrays[PART]["next"].tolist()
    return Position(int(stage), int(done))


def _as_arrays(position: Position) -> Arrays:
    return {"next": np.array([position.stage, position.done], np.int64)}
