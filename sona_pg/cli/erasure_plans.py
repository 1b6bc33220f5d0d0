"""Dry run of an erasure: what it would remove, in words too, and which other spaces know the same subject."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sona_pg.cli.render import show_facts

if TYPE_CHECKING:
    from sona_pg.domain.erasure import ErasurePlan, Subject
    from sona_pg.store.database import Database

NAMED = 20  # other spaces that are named


def show_plans(database: Database, names: list[str], subject: Subject, told: str) -> int:
    """Print the plan of an erasure in each of the spaces; return the number of trajectories it would remove.

    Args:
        database: of the spaces.
        names: of the spaces.
        subject: whose data.
        told: the subject in words.
    """
    found = 0
    for name in names:
        plan = database.erasures.plan(database.find_space(name), subject)
        show_facts({"space": name, **plan.as_dict()}, f"an erasure in space {name!r} would remove")
        for note in _notes(name, plan, told):
            print(f"sona-pg: {note}", file=sys.stderr)
        found += plan.trajectories
    others = [space for space in database.list_spaces() if space.name not in names]
    also = {space.name: count for space in others if (count := database.erasures.plan(space, subject).trajectories)}
    if also:
        named = ", ".join(f"{name!r} ({count} trajectories)" for name, count in list(also.items())[:NAMED])
        more = f" and {len(also) - NAMED} more" if len(also) > NAMED else ""
        print(f"sona-pg: other spaces have records of {told}: {named}{more}; see --all-spaces", file=sys.stderr)
    return found


def _notes(name: str, plan: ErasurePlan, told: str) -> Iterator[str]:
    if not plan.trajectories:
        yield f"space {name!r} has nothing of {told}"
    if plan.versions:
        kept = f"version{'s' * (len(plan.versions) > 1)} {', '.join(map(str, plan.versions))}"
        yield (
            f"{kept} of space {name!r} may hold what these records have taught: the erasure drops them, so that nobody "
            "can return to them, and learns what all others have taught again in a new version"
        )
