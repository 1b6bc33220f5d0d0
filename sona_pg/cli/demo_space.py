"""The space of the chat demo: the sample answers do not belong among those of a live one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sona_pg.demo.helpdesk import helpdesk_answers
from sona_pg.errors import InvalidValue, UnknownSpace

if TYPE_CHECKING:
    from sona_pg.store.database import Database


def require_demo_space(database: Database, name: str) -> None:
    """Refuse a space that has trajectories or candidates, and none of the sample answers."""
    try:
        space = database.find_space(name)
    except UnknownSpace:
        return
    answers = helpdesk_answers()
    if database.named_candidates(space, answers).ids:
        return
    if database.totals(space)["trajectories"] or database.candidate_order(space) or database.new_candidates(space, 0):
        raise InvalidValue(
            f"space {name!r} has records of its own: --demo would put {len(answers)} sample answers among its "
            "candidates; leave --demo out (the chat is at /demo all the same), name another --space, or add "
            "--demo-samples"
        )
