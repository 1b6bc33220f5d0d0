"""Recent evidence in the memory graph: a version's graph with the uses that no version has learned.

They are counted as the cycle will count them, so the weights are those of the next version. What comes after what is
left to the cycle, which also sees the trajectories of a session that nobody has judged; so are the graph's bounds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sona_pg.domain.catalog import Catalog
from sona_pg.domain.ledger_slice import LedgerSlice
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.learning.graph.expectation import Expectation
from sona_pg.learning.graph.grown_graph import grown, similarities
from sona_pg.learning.graph.open_sessions import SessionEnd
from sona_pg.learning.graph.session_events import session_events
from sona_pg.learning.graph.slice_uses import Sets, SliceUses, with_uses


def with_recent(
    learned: Expectation,
    ends: dict[bytes, SessionEnd],
    recent: LedgerSlice,
    patterns: Sequence[LearnedPattern],
    catalog: Catalog,
    sets: Sets,
    half_life: float,
    version: int,
) -> Expectation:
    """Return a version's graph with the uses of a slice of judged trajectories, prepared for queries.

    Args:
        learned: graph of the version.
        ends: of the sessions that the version has learned from.
        recent: the trajectories, and what counts of each.
        patterns: of the version.
        catalog: candidates of the version, and further ones that the server knows.
        sets: the ids of each candidate set that the slice names.
        half_life: of edges, in days.
        version: that is served.
    """
    before = learned.graph
    events = session_events(recent, patterns, catalog, ends)
    now = max([before.now, *(activation.at for activation in events.activations)])
    graph = grown(before, events, patterns, catalog, version)
    edges = with_uses(graph.edges, SliceUses(graph, events, patterns, catalog, sets), now, half_life)
    embeddings = learned.embeddings
    if len(graph) > len(before):
        new = graph.embeddings(np.arange(len(before), len(graph)), patterns, catalog)
        embeddings = np.concatenate([embeddings, new])
        edges = edges.with_new(similarities(embeddings, len(before), now))
    return learned.changed(dataclasses.replace(graph, edges=edges), embeddings, now, half_life)
