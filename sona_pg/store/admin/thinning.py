"""Deletion of rows that no kept row refers to, and of those that are kept for a time alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import psycopg
from sqlalchemy import Engine

from sona_pg.config import MaintenanceConfig
from sona_pg.domain.upkeep import MaintenanceAction
from sona_pg.store import fleet, states, topic_names
from sona_pg.store.admin import retention, space_retention, weeks
from sona_pg.store.admin.upkeep_turns import briefly, patiently
from sona_pg.store.admin.weeks import WEEK

PROOF = timedelta(weeks=4)  # a spool replayed later than this is recognised by its rows, no longer by its batch marker
SHARED_FOR = timedelta(weeks=1)  # that a shared trajectory waits for its end after the last call about it
ANSWERED_FOR = timedelta(days=1)  # that the answer to a request with an idempotency key is kept


def thin_out(
    engine: Engine, work: psycopg.Connection[Any], policy: MaintenanceConfig, at: datetime, sets_before: datetime
) -> Iterator[MaintenanceAction]:
    """Delete such rows of every space, and yield each action once it is done.

    Args:
        engine: of the database.
        work: the connection of the run.
        policy: for how long what is kept.
        at: time of the run.
        sets_before: sets of candidates that were named last before it go once no trajectory names them.
    """
    before = min(at - PROOF, retention.oldest_kept(work) or at)
    for space in weeks.spaces(work):
        with patiently(work):
            gone = retention.compact(work, space, before, at)
        if gone:
            yield MaintenanceAction("compacted", f"space {space}", f"{gone} batches of before {before:%Y-%m-%d}")
        with engine.begin() as connection:
            pruned = states.prune(connection, space, policy.keep_versions)
        if pruned:
            yield MaintenanceAction("pruned", f"space {space}", f"{pruned} state versions, {policy.keep_versions} kept")
        for kind, forget in _kinds(work, space, policy, at, before, sets_before).items():
            count, busy = briefly(work, forget)
            if busy:
                yield MaintenanceAction("later", f"space {space}", f"{kind} not forgotten: {busy}")
            elif count:
                yield MaintenanceAction("forgot", f"space {space}", f"{count} {kind}")
        briefly(work, partial(topic_names.follow, work, space))


def _kinds(
    work: psycopg.Connection[Any],
    space: int,
    policy: MaintenanceConfig,
    at: datetime,
    before: datetime,
    sets_before: datetime,
) -> dict[str, Callable[[], int]]:
    """Return what deletes each kind of rows, and tells their number."""
    silent = at - timedelta(days=policy.keep_servers_days)
    return {
        "trajectories past its retention": partial(space_retention.expire, work, space, at),
        "cycles": partial(retention.forget_cycles, work, space, before, at - PROOF),
        "sets of candidates": partial(retention.forget_sets, work, space, sets_before, at),
        "reasons of trajectories set aside": partial(retention.forget_reasons, work, space, before, at),
        "ids of imported rows": partial(retention.forget_imported, work, space, before, at),
        "rows of shared trajectories": partial(retention.forget_shared, work, space, at - SHARED_FOR),
        "answered requests": partial(retention.forget_requests, work, space, at - ANSWERED_FOR),
        "ids of spans": partial(retention.forget_telemetry, work, space, at - policy.keep_waiting_weeks * WEEK),
        "uses of patterns": partial(retention.forget_uses, work, space),
        "receipts of erasures": partial(retention.forget_erasures, work, space),
        "administrative acts": partial(retention.forget_acts, work, space),
        f"servers of which nothing was heard since {silent:%Y-%m-%d}": partial(_forget_servers, work, space, silent),
    }


def _forget_servers(work: psycopg.Connection[Any], space: int, before: datetime) -> int:
    """Delete servers that ended, or were killed, before ``before``; return their number."""
    row = work.execute(fleet.FORGET, {"space": space, "before": before}).fetchone()
    return 0 if row is None else int(row[0])
