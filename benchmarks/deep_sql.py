"""Questions to a large memory graph in SQL, after a deep cycle: medians of their times."""

from __future__ import annotations

import statistics
import time

import psycopg

TRIES = 7
# The first node of a kind: one without many connections, since an answer is as large as its surroundings.
ASKED = {
    "node": "SELECT n.node_id FROM sona.memory_nodes n WHERE n.kind = 'query' ORDER BY n.node_id LIMIT 1",
    "pattern": "SELECT p.pattern_id FROM sona.patterns p ORDER BY p.pattern_id LIMIT 1",
    "centroid": "SELECT p.centroid::text FROM sona.patterns p ORDER BY p.pattern_id LIMIT 1",
}
NEXT = "SELECT * FROM sona.next_patterns WHERE space = 'deep' AND pattern_id = %(pattern)s"
QUESTIONS = {
    "10 hubs": "SELECT * FROM sona.hubs('deep', 10)",
    "neighbours of a node": "SELECT * FROM sona.neighbors('deep', %(node)s)",
    "two hops around a node": "SELECT * FROM sona.neighborhood('deep', %(node)s, 2)",
    "community of a node": "SELECT * FROM sona.communities('deep', %(node)s)",
    "hierarchy": "SELECT * FROM sona.hierarchy('deep')",
    "10 heaviest dream edges": "SELECT * FROM sona.dream_edges WHERE space = 'deep' ORDER BY weight DESC LIMIT 10",
    "next patterns of one": NEXT,
    "5 nearest nodes": "SELECT * FROM sona.nearest_nodes('deep', %(centroid)s, 5)",
    "5 nearest nodes of a rare kind": "SELECT * FROM sona.nearest_nodes('deep', %(centroid)s, 5, 'pattern')",
    "5 nearest nodes of a usual kind": "SELECT * FROM sona.nearest_nodes('deep', %(centroid)s, 5, 'query')",
    "all communities": "SELECT * FROM sona.communities('deep')",
}


def timings(url: str) -> dict[str, tuple[float, int]]:
    """Return the median of the seconds of each question, and its rows."""
    told: dict[str, tuple[float, int]] = {}
    with psycopg.connect(url) as connection:
        asked = {name: (connection.execute(query).fetchone() or (None,))[0] for name, query in ASKED.items()}  # type: ignore[call-overload]
        for name, query in QUESTIONS.items():
            took = []
            for _ in range(TRIES):
                begun = time.perf_counter()
                rows = connection.execute(query, asked).fetchall()  # type: ignore[call-overload]
                took.append(time.perf_counter() - begun)
            told[name] = (statistics.median(took), len(rows))
    return told
