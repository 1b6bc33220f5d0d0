"""The memory graph's part of a cycle: nodes and edges from the sessions of a slice.

Only trajectories with a session count, so a space without sessions has no graph and pays nothing for one. Every change
is by counts, so that the order of the slice does not matter; ``now`` is the latest moment in slice and graph.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sona_pg.config.graph_parts import GraphConfig
from sona_pg.domain.catalog import UNKNOWN, Catalog
from sona_pg.domain.ledger_slice import LedgerSlice
from sona_pg.domain.memory import EdgeKind, NodeKind
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import Arrays, LearnedState
from sona_pg.learning.graph.communities import adopted
from sona_pg.learning.graph.graph_nodes import selected, with_patterns
from sona_pg.learning.graph.grown_graph import grown, similarities
from sona_pg.learning.graph.learned_graph import LearnedGraph
from sona_pg.learning.graph.open_sessions import sessions_from, sessions_to
from sona_pg.learning.graph.seasons import Seasons
from sona_pg.learning.graph.session_events import SessionEvents, session_events
from sona_pg.learning.graph.slice_uses import Sets, SliceUses, with_uses

PARTS = ("graph", "sessions", "seasons")
LEAST_WEIGHT = 1e-3  # an edge below it goes
MOVE = 0.05  # share of the way to the quality of an outcome that one activation moves an importance


def learn_graph(
    before: LearnedState,
    claimed: LedgerSlice,
    patterns: Sequence[LearnedPattern],
    catalog: Catalog,
    sets: Sets,
    config: GraphConfig,
    version: int,
) -> dict[str, Arrays]:
    """Return the parts ``PARTS`` of the state of ``version``, as far as there are any.

    Args:
        before: the state before the slice.
        claimed: the slice.
        patterns: of ``version``.
        catalog: all candidates.
        sets: the ids of each candidate set that the slice names.
        config: of the space.
        version: that is made.
    """
    held = {part: before.arrays[part] for part in PARTS if part in before.arrays}
    in_session = any(name is not None for of in (claimed.fresh, claimed.revised) for name in of.sessions)
    if not config.nodes:
        return {}
    if not in_session and "graph" not in held:
        return held
    graph = LearnedGraph.from_arrays(held["graph"]) if "graph" in held else LearnedGraph.empty(before.micro.dim)
    kept = with_patterns(graph, patterns)
    if not in_session:
        return held if kept is graph else {**held, "graph": kept.to_arrays()}
    ends = sessions_from(held["sessions"]) if "sessions" in held else {}
    events = session_events(claimed, patterns, catalog, ends)
    now = max([kept.now, *(activation.at for activation in events.activations)])
    learned = _learned(kept, events, patterns, catalog, sets, config, version, now)
    seasons = Seasons.from_arrays(held.get("seasons"))
    seasons = seasons.after(events.activations, patterns, now, config.half_life)
    parts: dict[str, Arrays] = {"sessions": sessions_to(events.ends, now)}
    if len(learned):
        parts |= {"graph": learned.to_arrays(), "seasons": seasons.to_arrays()}
    return parts


def _learned(
    before: LearnedGraph,
    events: SessionEvents,
    patterns: Sequence[LearnedPattern],
    catalog: Catalog,
    sets: Sets,
    config: GraphConfig,
    version: int,
    now: float,
) -> LearnedGraph:
    """Return the graph after the events of a slice, within its bounds."""
    graph, half_life = grown(before, events, patterns, catalog, version), config.half_life
    uses = SliceUses(graph, events, patterns, catalog, sets)
    edges = graph.edges.learned(uses.in_turn(), EdgeKind.SEQUENCE, now, half_life)
    edges = with_uses(edges, uses, now, half_life)
    if len(graph) > len(before):
        embeddings = graph.embeddings(np.arange(len(graph)), patterns, catalog)
        edges = edges.united(similarities(embeddings, len(before), now))
    edges = edges.without_weak(LEAST_WEIGHT, now, half_life)
    edges = edges.capped_by_kind(config.degree, now, half_life)
    learned = _accessed(dataclasses.replace(graph, edges=edges), uses, events)
    return _bounded(adopted(learned, now, half_life), config, now)


def _accessed(graph: LearnedGraph, uses: SliceUses, events: SessionEvents) -> LearnedGraph:
    """Return the graph with one more use of every node activated, and its importance nearer to the outcomes.

    A candidate has as many uses as trajectories whose outcome, as it is known now, uses it.
    """
    count, told, total = np.zeros(len(graph), np.int64), np.zeros(len(graph)), np.zeros(len(graph))
    accessed = graph.accessed.copy()
    for fresh, activations in ((True, events.activations), (False, events.revised)):
        for activation in activations:
            pattern, used = uses.nodes_of(activation)
            for row in (pattern, used):
                if row is None:
                    continue
                count[row] += fresh or row == used  # a revised one has activated its pattern before
                accessed[row] = max(accessed[row], activation.at)
                if not np.isnan(activation.quality):
                    told[row] += 1
                    total[row] += activation.quality
    for activation in events.taken_back:
        _, used = uses.nodes_of(activation)
        if used is not None:
            count[used] -= 1
    mean = total / np.maximum(told, 1)
    importance = mean + (graph.importance - mean) * (1.0 - MOVE) ** told
    return dataclasses.replace(
        graph,
        accesses=np.maximum(graph.accesses + count, 0),
        accessed=accessed,
        importance=importance.astype(np.float32),
    )


def _bounded(graph: LearnedGraph, config: GraphConfig, now: float) -> LearnedGraph:
    """Return the graph with at most ``graph.nodes`` nodes: candidates and queries used least go first."""
    excess = len(graph) - config.nodes
    if excess <= 0:
        return graph
    use = graph.accesses * np.exp2(-np.maximum(now - graph.accessed, 0.0) / config.half_life)
    may_go = np.flatnonzero(graph.kinds != NodeKind.PATTERN)
    order = np.lexsort((np.array(graph.identities())[may_go], use[may_go]))
    place = np.arange(len(graph))
    place[may_go[order[:excess]]] = UNKNOWN
    return selected(graph, place)
