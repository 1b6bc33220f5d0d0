"""Health of the spaces of a store: servers, workers, learning, erasures, maintenance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from sona_pg.domain.finding import Finding
from sona_pg.store import upkeep_times
from sona_pg.store.admin.rating_health import rating_checks, stray_feedback
from sona_pg.store.worker_sessions import connected_workers

MOST_SKEW = 1.0  # seconds between two clocks; timestamps in logs and lags of servers are off by as much
BEHIND = 60.0  # seconds for which a live server may serve an old version
LONG_AGO = 2.0  # days: what is done every night has failed twice
LATE = 600.0  # seconds beyond the interval of learning that facts may wait
FLEET = """
SELECT space, host, pid, versions_behind, dropped, skew_ms, extract(epoch FROM now() - started_at) FROM sona.fleet
WHERE state IN ('live', 'silent')
"""
STALE = """
SELECT f.space, f.host, f.pid, f.versions_behind FROM sona.fleet f
JOIN sona.spaces s ON s.name = f.space
JOIN sona.state_versions v ON v.space_id = s.space_id AND v.version = s.live_version
WHERE f.state = 'live' AND f.versions_behind > 0 AND v.created_at < %(before)s AND f.started_at < %(before)s
"""
CONFLICTING = """
SELECT s.name, sum(v.conflicting)::bigint FROM sona.servers v JOIN sona.spaces s USING (space_id)
WHERE v.conflicting > 0 AND v.ended_at IS NULL GROUP BY s.name ORDER BY 2 DESC
"""
LEARNING = """
SELECT l.space, l.waiting_facts, extract(epoch FROM now() - l.waiting_since), l.failed_cycles, l.last_error,
       coalesce((s.settings ->> 'loops.background_interval')::float, 3600),
       coalesce((s.settings ->> 'loops.min_trajectories')::int, 100)
FROM sona.learning l JOIN sona.spaces s ON s.space_id = l.space_id
"""
FAILING = """
SELECT s.name, min(c.started_at) FROM sona.spaces s
JOIN sona.cycles c ON c.space_id = s.space_id
LEFT JOIN sona.state_versions v ON v.space_id = s.space_id AND v.version = s.live_version
WHERE c.error IS NOT NULL AND c.started_at > coalesce(v.created_at, '-infinity') GROUP BY s.name
"""
WAITED = """
SELECT space, waited_from, waited_until, extract(epoch FROM waited)::float8, failed_cycles FROM sona.learning_gaps
WHERE waited_until > now() - interval '7 days' ORDER BY waited DESC LIMIT 1
"""
ASIDE = """
SELECT s.name, count(*) FROM sona.set_aside a JOIN sona.spaces s USING (space_id) GROUP BY s.name ORDER BY 2 DESC
"""
UNFINISHED = """
SELECT s.name, count(*) FROM sona.erasures e JOIN sona.spaces s USING (space_id)
WHERE e.phase = 'removed' AND e.requested_at < now() - interval '10 minutes' GROUP BY s.name ORDER BY 2 DESC
"""
PARTITIONED = """
SELECT to_regclass(format('sona.trajectories_w%%s', to_char(date_trunc('week', %(at)s::timestamptz), 'YYYYMMDD')))
"""
SIZE = "SELECT pg_database_size(current_database())"

UPKEEP = {
    "maintained": ("maintenance", "run sona-pg maintain every night, or a worker or engine with maintenance on"),
    "dumped": (
        "dump",
        "see why the nightly sona-pg dump has stopped; if another backup has taken its place, leave it so",
    ),
}


def space_checks(raw: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Examine servers, workers, learning, erasures and maintenance of a store whose schema serves this release."""
    yield from _fleet(raw)
    yield _workers(raw)
    yield from _learning(raw)
    aside = raw.execute(ASIDE).fetchall()
    if aside:
        yield Finding(
            "set aside", "warning", f"trajectories that could not be learned from: {_listed(aside)}",
            "sona-pg set-aside list says why, sona-pg set-aside retry gives them back",
        )  # fmt: skip
    conflicting = raw.execute(CONFLICTING).fetchall()
    if conflicting:
        yield Finding(
            "ids", "warning", "trajectories recorded again under a stored id with other contents, not stored: "
            + _listed(conflicting), "give each interaction an id of its own; the servers' logs name ids",
        )  # fmt: skip
    unfinished = raw.execute(UNFINISHED).fetchall()
    if unfinished:
        yield Finding(
            "erasures", "fault", f"rows are removed, and what they have taught is still served: {_listed(unfinished)}",
            "sona-pg forget --space NAME --finish",
        )  # fmt: skip
    if one(raw, PARTITIONED, at=datetime.now(UTC)) is None and one(raw, "SELECT count(*) FROM sona.spaces"):
        yield Finding(
            "maintenance", "warning", "this week has no partition: its rows go into the default one",
            "run sona-pg maintain, or a worker or engine with maintenance on",
        )  # fmt: skip
    yield from _upkeep(raw)
    yield from rating_checks(raw)
    yield from stray_feedback(raw)
    yield Finding("size", "ok", f"the database takes {int(one(raw, SIZE)) / 2**20:,.0f} MB")


def _fleet(raw: psycopg.Connection[Any]) -> Iterator[Finding]:
    servers = raw.execute(FLEET).fetchall()
    before = datetime.fromtimestamp(one(raw, "SELECT clock_timestamp()").timestamp() - BEHIND, UTC)
    stale = raw.execute(STALE, {"before": before}).fetchall()
    skewed = [row for row in servers if row[5] is not None and abs(row[5]) > 1000 * MOST_SKEW]
    dropping = [row for row in servers if row[4]]
    if stale:
        yield Finding(
            "lag", "fault", "servers do not follow the live version: "
            + _listed([(f"{host}:{pid} in {space}", f"{behind} behind") for space, host, pid, behind in stale]),
            "see their logs; a version in an unknown format needs a newer release there",
        )  # fmt: skip
    if dropping:
        yield Finding(
            "lag", "warning", "servers have dropped records: "
            + _listed([(f"{host}:{pid} in {space}", dropped) for space, host, pid, _, dropped, *_ in dropping]),
            "their buffers were full: see whether the database keeps up, or use durability 'spool'",
        )  # fmt: skip
    if skewed:
        yield Finding(
            "clocks", "warning", "clocks of servers are off: "
            + _listed([(f"{host}:{pid}", f"{skew / 1000:+.1f} s") for _, host, pid, _, _, skew, _ in skewed]),
            "synchronise them by NTP",
        )  # fmt: skip
    if not stale and not dropping:
        yield Finding("lag", "ok", f"live servers: {len(servers)}, none behind for more than {BEHIND:g} s")


def _workers(raw: psycopg.Connection[Any]) -> Finding:
    workers = connected_workers(raw)
    told = _listed(
        [
            (
                one.worker,
                f"since {one.connected_since:%Y-%m-%d %H:%M}" if one.connected_since else "since when is hidden",
            )
            for one in workers
        ]
    )
    without = "none is connected: servers learn in the spaces that they have open, but those with --no-learn do not"
    return Finding("workers", "ok", f"{len(workers)} connected: {told}" if workers else without)


def _upkeep(raw: psycopg.Connection[Any]) -> Iterator[Finding]:
    now: datetime = one(raw, "SELECT clock_timestamp()")
    ended = upkeep_times.read(raw)
    if "dumped" not in ended:
        yield Finding("dump", "ok", "sona-pg dump never ended well here; another backup is not known to the store")
    for done, at in ended.items():
        days = (now - at).total_seconds() / 86_400
        check, advice = UPKEEP[done]
        told = f"the last one that ended well did so {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        if days > LONG_AGO:
            yield Finding(check, "warning", f"{told}, {days:.1f} days ago", advice)
        else:
            yield Finding(check, "ok", told)


def _learning(raw: psycopg.Connection[Any]) -> Iterator[Finding]:
    rows = raw.execute(LEARNING).fetchall()
    since = dict(raw.execute(FAILING).fetchall())
    failing = [
        (f"{space} since {since[space].astimezone(UTC):%Y-%m-%d %H:%M} UTC, {failed} in a row", error)
        for space, _, _, failed, error, _, _ in rows
        if failed and space in since
    ]
    stuck = [
        (space, f"{facts} facts for {float(waited) / 3600:.1f} h")
        for space, facts, waited, failed, _, interval, least in rows
        if not failed and facts >= least and waited is not None and float(waited) > interval + LATE
    ]
    if failing:
        yield Finding(
            "learning", "fault", f"cycles fail in {_listed(failing)}",
            "sona-pg cycles --space NAME has every attempt; the next ones set poisoned trajectories aside",
        )  # fmt: skip
    if stuck:
        yield Finding(
            "learning", "fault", f"nobody learns: {_listed(stuck)}",
            "run sona-pg worker, or open an engine with LoopConfig(automatic=True); one that runs and cannot note an "
            "error has it in its log, and the space at /health of its --metrics port",
        )  # fmt: skip
    if not failing and not stuck:
        waiting = sum(int(row[1]) for row in rows)
        yield Finding("learning", "ok", f"spaces: {len(rows)}, facts that wait for their next cycle: {waiting}")
    waited = raw.execute(WAITED).fetchone()
    if waited is not None:
        space, start, end, seconds, failed = waited
        told = f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min"
        yield Finding(
            "waits", "ok", f"the longest wait of facts that ended in the last 7 days: {told} in {space}, from "
            f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M %Z}, with {failed} failed cycles (all: sona.learning_gaps)",
        )  # fmt: skip


def _listed(named: Sequence[Sequence[Any]]) -> str:
    """Return the first three of named values, and the number of the others."""
    told = "; ".join(f"{row[0]}: {row[1]}" for row in named[:3])
    return told + (f" and {len(named) - 3} more" if len(named) > 3 else "")


def one(raw: psycopg.Connection[Any], query: str, **values: object) -> Any:
    """Return the only value that a query gives; None if it gives no row."""
    row = raw.execute(query, values or None).fetchone()
    return None if row is None else row[0]
