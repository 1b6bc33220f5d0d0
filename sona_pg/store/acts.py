"""Administrative acts, recorded in the transaction that does them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import psycopg

from sona_pg.domain.act import Act, ActKind, current_actor

log = logging.getLogger(__name__)

MAY_NOTE = "SELECT has_table_privilege('sona.acts', 'INSERT')"
NOTE = """
INSERT INTO sona.acts (space_id, act_id, at, act, login, actor, details)
VALUES (%(space)s, gen_random_uuid(), clock_timestamp(), %(act)s, session_user, %(actor)s, %(details)s)
"""
LISTING = """
SELECT a.at, a.act, a.space, a.login, a.actor, a.details FROM sona.audit_log a
WHERE %(space)s::int IS NULL OR a.space_id = %(space)s
ORDER BY a.at DESC, a.act LIMIT %(limit)s
"""
FORGET = """
DELETE FROM sona.acts a WHERE a.space_id = %(space)s AND a.at <= (
    SELECT n.at FROM sona.acts n WHERE n.space_id = %(space)s ORDER BY n.at DESC OFFSET %(most)s LIMIT 1)
"""


def note(raw: psycopg.Connection[Any], space_id: int, act: ActKind, details: Mapping[str, Any] | None = None) -> None:
    """Record an act in the transaction that is open; ``space_id`` is ``WHOLE_STORE`` for one about no single space."""
    if raw.execute(MAY_NOTE).fetchone() != (True,):
        log.warning("%s: not recorded, for this login may not (run the grants of docs/roles.md again)", act)
        return
    raw.execute(NOTE, _values(space_id, act, details))


def statement(raw: psycopg.Connection[Any], space_id: int, act: ActKind, details: Mapping[str, Any]) -> str:
    """Return the statement that records an act, for another program to run in its transaction."""
    return psycopg.ClientCursor(raw).mogrify(NOTE, _values(space_id, act, details))


def _values(space_id: int, act: ActKind, details: Mapping[str, Any] | None) -> dict[str, object]:
    told = json.dumps(dict(details or {}), default=str)
    return {"space": space_id, "act": act, "actor": current_actor()[:200], "details": told}


def listing(raw: psycopg.Connection[Any], space_id: int | None, limit: int) -> list[Act]:
    """Return the latest acts that this login sees, of one space or of all, newest first."""
    return [Act(*row) for row in raw.execute(LISTING, {"space": space_id, "limit": limit}).fetchall()]


def forget(raw: psycopg.Connection[Any], space_id: int, most: int) -> int:
    """Delete the oldest acts beyond the latest ``most``; return their number."""
    return raw.execute(FORGET, {"space": space_id, "most": most}).rowcount
