"""Opening a space that exists: one statement reads all that its server needs to begin."""

from __future__ import annotations

import time
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from sona_pg.domain.budget import Budget
from sona_pg.domain.space import Space
from sona_pg.store.budgets import of_row
from sona_pg.store.candidates import CandidateSignal
from sona_pg.store.connect import driver_connection
from sona_pg.store.settings_log import read_settings

# The settings found in adapters are those of a space without its own; see ``settings_log.FOUND``.
FIND = """
SELECT clock_timestamp(), s.space_id, s.name, s.dim, s.settings,
       CASE WHEN s.settings = '{}'::jsonb THEN (
           SELECT jsonb_build_object(
               'micro.rank', max(a.rank) FILTER (WHERE a.kind = 'micro'),
               'base.rank', max(a.rank) FILTER (WHERE a.kind = 'base'),
               'base.layers', nullif(count(*) FILTER (WHERE a.kind = 'base'), 0))
           FROM sona.adapters a WHERE a.space_id = s.space_id AND a.version = s.live_version) END,
       s.live_version, s.created_at,
       greatest(extract(epoch FROM clock_timestamp() - coalesce(v.created_at, s.created_at)), 0)::float8,
       (SELECT max(c.slot) FROM sona.candidates c WHERE c.space_id = s.space_id),
       (SELECT count(*) FROM sona.candidates c WHERE c.space_id = s.space_id AND c.slot IS NULL),
       (SELECT max(c.changed_at) FROM sona.candidates c WHERE c.space_id = s.space_id),
       (SELECT max(coalesce(c.restored_at, c.retired_at)) FROM sona.candidates c
        WHERE c.space_id = s.space_id AND c.retired_at IS NOT NULL),
       s.kinds_from IS NOT NULL, s.embedder_probe, s.budget, s.budget_per, s.budget_set_at,
       (SELECT b.batch FROM sona.batches b
        WHERE b.space_id = s.space_id AND b.cycle_id IS NULL AND b.left_out_by IS NULL
        ORDER BY b.recorded_at DESC, b.batch DESC LIMIT 1)
FROM sona.spaces s
LEFT JOIN sona.state_versions v ON v.space_id = s.space_id AND v.version = s.live_version
WHERE s.name || '' = %(name)s
"""


class Arrival(NamedTuple):
    """State of a space when a server opens it."""

    space: Space
    at: datetime  # by the database's clock
    asked_at: float  # by this machine's clock, before and after the query
    answered_at: float
    live_version: int
    age: float  # seconds since that was published; of version 0, since the space was made
    made_at: datetime  # the space
    signal: CandidateSignal  # of its candidates, see ``candidates.signal``
    budget: Budget | None
    newest: int | None = None  # batch that no cycle has learned from
    embedder_probe: bytes | None = None  # see ``sona_pg.domain.embedder_probe``


def find(connection: Connection, name: str) -> Arrival | None:
    """Return the state of the space called ``name``, or None."""
    asked_at = time.time()
    row = driver_connection(connection).execute(FIND, {"name": name}).fetchone()
    if row is None:
        return None
    at, space_id, name, dim, settings, found, live, made_at, age, *rest = row
    slot, new, changed, retired, kinds, probe, *budget, newest = rest
    space = Space(space_id, name, dim, read_settings(settings, found), bool(settings), kinds)
    signal = CandidateSignal(0 if slot is None else slot + 1, new, changed, retired)
    return Arrival(space, at, asked_at, time.time(), live, age, made_at, signal, of_row(*budget), newest, probe)
