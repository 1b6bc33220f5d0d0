"""What a rollback would undo, told before it is done."""

from __future__ import annotations

from uuid import UUID

from sona_pg.domain.undo_plan import UndoneTopic, UndoPlan
from sona_pg.domain.version import Difference
from sona_pg.engine import version_exchange
from sona_pg.engine.session import Session


def undo_plan(session: Session, version: int) -> UndoPlan:
    """Return what a rollback to ``version`` would undo.

    Raises:
        UnknownVersion: it is not kept.
    """
    database, space = session.pages, session.space
    live = database.overview.learning(space)["live_version"] or 0
    found = version_exchange.named(database, space, database.versions.diff(space, live, version))
    topics = [_topic(one) for one in found if one.part == "pattern"]
    topics.sort(key=lambda one: (-max(one.size_now or 0, one.size_then or 0), one.pattern))
    return UndoPlan(version, live, database.overview.undone(space, live, version), topics)


def _topic(found: Difference) -> UndoneTopic:
    now, then = found.before or {}, found.after or {}
    sides = (now.get("quality"), then.get("quality"), now.get("size"), then.get("size"))
    return UndoneTopic(UUID(found.name), found.topic, *sides)
