"""Compares the journals of acknowledged records with the database, and the database with itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from .journal import Promises

SHOWN = 8  # examples of each failure

TRAJECTORIES = "SELECT id, query, step_count, coalesce(candidate_set, 0) FROM sona.trajectories"
FEEDBACK = "SELECT trajectory_id, source, sequence FROM sona.feedback"

# Every query lists contradictions: the expected result is empty.
CONTRADICTIONS = {
    "trajectories stored twice": "SELECT query, count(*) FROM sona.trajectories GROUP BY query HAVING count(*) > 1",
    "facts stored twice": """
        SELECT source, quality, count(*) FROM sona.feedback WHERE quality IS NOT NULL
        GROUP BY source, quality HAVING count(*) > 1
    """,
    "trajectories without all their steps": """
        SELECT t.id, t.step_count, coalesce(s.steps, 0) FROM sona.trajectories t
        LEFT JOIN (SELECT trajectory_id, count(*) AS steps FROM sona.steps GROUP BY 1) s ON s.trajectory_id = t.id
        WHERE t.step_count <> coalesce(s.steps, 0)
    """,
    "steps without their trajectory": """
        SELECT s.trajectory_id, s.ordinal FROM sona.steps s
        WHERE NOT EXISTS (SELECT FROM sona.trajectories t WHERE t.space_id = s.space_id AND t.id = s.trajectory_id)
    """,
    "batches whose marker counts other rows": """
        SELECT batch, b.trajectories, t.rows, b.steps, s.rows, b.feedback, f.rows FROM sona.batches b
        FULL JOIN (SELECT batch, count(*) AS rows FROM sona.trajectories GROUP BY batch) t USING (batch)
        FULL JOIN (SELECT batch, sum(step_count) AS rows FROM sona.trajectories GROUP BY batch) s USING (batch)
        FULL JOIN (SELECT batch, count(*) AS rows FROM sona.feedback GROUP BY batch) f USING (batch)
        WHERE (coalesce(b.trajectories, 0), coalesce(b.steps, 0), coalesce(b.feedback, 0))
           <> (coalesce(t.rows, 0), coalesce(s.rows, 0), coalesce(f.rows, 0))
    """,
    "counters of servers that count other rows": """
        SELECT * FROM
            (SELECT sum(departed_trajectories + coalesce(trajectories, 0)) AS counted_trajectories,
                    sum(departed_feedback + coalesce(feedback, 0)) AS counted_feedback
             FROM sona.spaces LEFT JOIN (SELECT space_id, sum(trajectories) AS trajectories, sum(feedback) AS feedback
                                         FROM sona.servers GROUP BY space_id) servers USING (space_id)) counters,
            (SELECT count(*) AS trajectories FROM sona.trajectories) stored,
            (SELECT count(*) AS feedback FROM sona.feedback) told
        WHERE counted_trajectories <> trajectories OR counted_feedback <> feedback
    """,
    "trajectories whose candidate set is not stored": """
        SELECT t.id, t.candidate_set FROM sona.trajectories t
        WHERE t.candidate_set IS NOT NULL AND NOT EXISTS (
            SELECT FROM sona.candidate_sets c WHERE c.space_id = t.space_id AND c.set_id = t.candidate_set)
    """,
    "candidates of stored sets that are not stored": """
        SELECT DISTINCT s.space_id, named FROM sona.candidate_sets s, unnest(s.candidate_ids) named
        WHERE named LIKE 'document-%' AND NOT EXISTS (
            SELECT FROM sona.candidates c WHERE c.space_id = s.space_id AND c.candidate_id = named)
    """,
    "batches that no cycle has claimed": "SELECT batch, trajectories FROM sona.batches WHERE cycle_id IS NULL",
    "cycles that read other facts than they claimed": """
        SELECT c.version, c.trajectories + c.set_aside, b.trajectories, c.feedback, b.feedback FROM sona.cycles c
        LEFT JOIN (SELECT cycle_id, sum(trajectories) AS trajectories, sum(feedback) AS feedback
                   FROM sona.batches GROUP BY cycle_id) b USING (cycle_id)
        WHERE c.version > c.base_version
          AND (c.trajectories + c.set_aside, c.feedback) <> (coalesce(b.trajectories, 0), coalesce(b.feedback, 0))
    """,
    "trajectories that a cycle set aside": "SELECT trajectory_id, reason FROM sona.set_aside",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """One kind of failure, with its count and examples."""

    what: str
    count: int
    examples: tuple[str, ...]

    @classmethod
    def of(cls, what: str, found: Iterable[object]) -> Failure:
        """Count ``found`` and keep the first ones."""
        examples = [str(one) for one in found]
        return cls(what, len(examples), tuple(examples[:SHOWN]))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Counts of acknowledged and stored records, and the failures."""

    promised: dict[str, int]
    stored: dict[str, int]
    failures: tuple[Failure, ...]


def compare(connection: psycopg.Connection[Any], promises: Promises) -> Comparison:
    """Compare the database with the promises, after all writing and learning has ended."""
    stored = {row[0]: row[1:] for row in connection.execute(TRAJECTORIES)}
    facts = set(connection.execute(FEEDBACK))
    steps = connection.execute("SELECT count(*) FROM sona.steps").fetchall()[0][0]
    failures = [
        Failure.of(
            "acknowledged trajectories that are missing",
            _by_source(
                (entry.nonce.split(".")[0], entry) for entry in promises.trajectories.values() if entry.id not in stored
            ),
        ),
        Failure.of(
            "acknowledged facts that are missing", _by_source((fact[1], fact) for fact in promises.facts - facts)
        ),
        Failure.of("trajectories stored with another content", _changed(promises, stored)),
    ]
    for what, query in CONTRADICTIONS.items():
        failures.append(Failure.of(what, connection.execute(query)))
    return Comparison(
        promised={
            "trajectories": len(promises.trajectories),
            "steps": sum(entry.steps for entry in promises.trajectories.values()),
            "feedback": len(promises.facts),
        },
        stored={"trajectories": len(stored), "steps": steps, "feedback": len(facts)},
        failures=tuple(failures),
    )


def _by_source(found: Iterable[tuple[str, object]]) -> list[str]:
    """Return the findings, one of each source first, so that the examples show which sources are affected."""
    seen: Counter[str] = Counter()
    ranked = []
    for source, one in found:
        seen[source] += 1
        ranked.append((seen[source], source, str(one)))
    return [f"{words} (of {source}: {seen[source]})" for _, source, words in sorted(ranked)]


def _changed(promises: Promises, stored: dict[UUID, tuple[Any, ...]]) -> Iterator[str]:
    """Yield the records whose stored text, number of steps or candidate set differs from the journal."""
    for entry in promises.trajectories.values():
        row = stored.get(entry.id)
        if row is None:
            continue
        nonce, steps, candidate_set = row
        if (nonce, steps) != (entry.nonce, entry.steps) or entry.candidate_set not in (0, candidate_set):
            yield f"{entry} is stored as {row}"
