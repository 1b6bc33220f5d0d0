"""A burst of wrong feedback, and the rollback that undoes it on every server."""

from __future__ import annotations

import time

from sona_pg.demo.serving_process import Point, ServingProcess
from sona_pg.demo.teaching import Lesson
from sona_pg.engine import SonaEngine

NONSENSE = 500  # thumbs, each the opposite of the right one


def learn_nonsense(lesson: Lesson, other: ServingProcess) -> Point:
    """Learn from a burst of wrong thumbs; return the serving process's accuracy afterwards."""
    count = min(NONSENSE, len(lesson.corpus.stream))
    for row in range(count):
        lesson.ask(row, lie=True)
    asked = time.time()
    return other.point(count, lesson.engine.force_learn().version, asked)


def roll_back(engine: SonaEngine, other: ServingProcess, before: Point, bad: Point) -> str:
    """Roll back to the version ``before``; return a report by the serving process."""
    asked = time.time()
    done = engine.rollback(before.version)
    after = other.point(0, done.version, asked)
    same = "every answer and score as before, to the bit" if after.answers == before.answers else "NOT as before"
    rebuilt = "gives" if engine.rebuild().equal else "does NOT give"
    return (
        f"Rollback: {bad.feedbacks} wrong thumbs made version {bad.version}: accuracy {before.accuracy:.1%} -> "
        f"{bad.accuracy:.1%}; engine.rollback({before.version}) made version {after.version}: {after.accuracy:.1%} on "
        f"the other server {after.spread:.2f} s later, {same}; the ledger {rebuilt} that state again"
    )
