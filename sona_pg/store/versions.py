"""Changes of the live version outside of learning: stage, promote, roll back, load. Each is one transaction.

The live version's number only rises: a rollback is a new version with the content of an earlier one. So comparisons of
numbers (by followers, publishing learners, claimed batches) stay valid, and a learner that began on another version
notices when it publishes. ``sona.cycles.in_force`` has the live versions that include each cycle; ``rebuild`` runs
those of the newest one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Connection, delete, exists, func, insert, select, text, update

from sona_pg.domain.catalog import Catalog
from sona_pg.domain.cycle import CycleResult
from sona_pg.domain.ids import uuid7
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.soundness import require_sound
from sona_pg.domain.space import Space
from sona_pg.domain.state import FisherSnapshot, LearnedState
from sona_pg.domain.version import Difference, RollbackResult, StoredVersion
from sona_pg.errors import LearningConflict, UnknownVersion, VersionConflict, VersionNotKept
from sona_pg.store import candidates, claims, gate_rows, graph_rows, held_cycles, settings_log, states, version_contents
from sona_pg.store import cycles as cycle_rows
from sona_pg.store.connect import driver_connection
from sona_pg.store.learned import StoredKnowledge, read_patterns, read_version
from sona_pg.store.retirement_store import next_time
from sona_pg.store.schema import cycles, erasures, staged_versions, state_versions
from sona_pg.store.version_contents import VersionContent

KEPT_SINCE = "0007"  # the schema revision that keeps the content of versions
LIST = """
SELECT version, parent, status, origin, created_at, cycle_id, server_id, trajectories, feedback, patterns, routes,
    complete, g.judgement, g.difference
FROM sona.versions v
LEFT JOIN LATERAL (
    SELECT judgement, difference FROM sona.gates g WHERE g.space_id = :space AND g.version = v.version
    ORDER BY g.opened_at DESC LIMIT 1
) g ON true
WHERE space_id = :space ORDER BY version DESC LIMIT :limit
"""
DIFF = "SELECT part, name, change, before, after FROM sona.diff(:space, :a, :b)"


@dataclass(frozen=True, slots=True, eq=False)
class Staged:
    """Result of a cycle over the batches ``claimed``, to be stored as a candidate version."""

    state: LearnedState
    patterns: Sequence[LearnedPattern]
    fisher: Sequence[FisherSnapshot]
    new_fisher: Sequence[FisherSnapshot]
    claimed: Sequence[int]
    set_aside: Sequence[tuple[UUID, str]]


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A version read from a file."""

    source: str  # named in the record
    state: LearnedState
    patterns: Sequence[LearnedPattern]
    fisher: Sequence[FisherSnapshot]
    catalog: Catalog  # its candidates, by slot in its original store
    retired: frozenset[str] = frozenset()  # of its candidates, when it was saved

    @property
    def newest(self) -> int:
        """Highest version named in it."""
        named = [pattern.created_version for pattern in self.patterns]
        named += [pattern.updated_version for pattern in self.patterns]
        return max(named + [route.updated_version for route in self.state.routes.values()], default=0)


@dataclass(frozen=True, slots=True)
class Order:
    """Request to change the live version: space, author, time."""

    space: Space
    server_id: UUID
    at: datetime


def listing(connection: Connection, space: Space, limit: int) -> list[StoredVersion]:
    """Return the newest versions of a space, newest first."""
    rows = connection.execute(text(LIST), {"space": space.space_id, "limit": limit})
    return [StoredVersion(**row._mapping) for row in rows]


def diff(connection: Connection, space: Space, a: int, b: int) -> list[Difference]:
    """Return the differences of two versions whose content is kept, by ``sona.diff``."""
    for version in (a, b):
        _require_kept(connection, space, version)
    rows = connection.execute(text(DIFF), {"space": space.name, "a": a, "b": b})
    return [Difference(**row._mapping) for row in rows]


def knowledge(connection: Connection, space: Space, version: int) -> StoredKnowledge:
    """Return the knowledge of a version, in a REPEATABLE READ transaction.

    Raises:
        UnknownVersion: the version or its content is missing.
    """
    _require_kept(connection, space, version)
    return read_version(connection, space.space_id, version)


def patterns_at(connection: Connection, space: Space, version: int) -> list[LearnedPattern]:
    """Return the patterns of a version; ``UnknownVersion`` if they are missing."""
    _require_kept(connection, space, version)
    return read_patterns(connection, space.space_id, version)


def stage(
    connection: Connection,
    space_id: int,
    staged: Staged,
    result: CycleResult,
    started: datetime,
    made: states.Making,
) -> None:
    """Store a candidate version beside the live one, which is its parent; call it under ``lock_space``."""
    version = staged.state.version
    version_contents.keep_live(connection, space_id, staged.state.parent)
    states.insert_version(connection, space_id, staged.state, made._replace(status="candidate"))
    content = VersionContent(staged.patterns, staged.state.routes, staged.fisher, staged.new_fisher)
    version_contents.write(connection, space_id, version, content, made.at)
    told = dataclasses.asdict(result) | {"cycle_id": str(result.cycle_id)}
    connection.execute(
        insert(staged_versions).values(
            space_id=space_id,
            version=version,
            server_id=made.server_id,
            batches=list(staged.claimed),
            cycle=told,
            set_aside=[[str(trajectory), reason] for trajectory, reason in staged.set_aside],
            started_at=started,
        )
    )


def promote(connection: Connection, order: Order, version: int) -> None:
    """Make a candidate the live version, and mark its batches as learned.

    Raises:
        UnknownVersion: there is no such version.
        VersionConflict: it is not a candidate.
        LearningConflict: another version has gone live since it was staged.
        DamagedVersion: it cannot be read.
        UnsoundVersion: it must not be served.
    """
    space_id, name = order.space.space_id, order.space.name
    live = states.lock_space(connection, space_id)
    found = _require_kept(connection, order.space, version, held=True) if version else None
    if found is None:
        raise VersionConflict(f"version 0 of space {name!r} is what was served before it learned: roll back to it")
    if found.status != "candidate":
        raise VersionConflict(
            f"version {version} of space {name!r} is {found.status}, expected a candidate: "
            "roll back to a version that was live"
        )
    if found.parent != live:
        raise LearningConflict(
            f"version {version} of space {name!r} was staged on version {found.parent}, and version {live} is live by "
            "now: stage again"
        )
    _require_servable(connection, order.space, version)
    of_version = (staged_versions.c.space_id == space_id) & (staged_versions.c.version == version)
    staged = connection.execute(select(staged_versions).where(of_version)).one()
    result = CycleResult(**(staged.cycle | {"cycle_id": UUID(staged.cycle["cycle_id"])}))
    if not claims.mark(connection, space_id, staged.batches, result.cycle_id):
        raise LearningConflict(
            f"version {version} of space {name!r} was made from facts that wait no longer: stage again"
        )
    aside = [(UUID(trajectory), reason) for trajectory, reason in staged.set_aside]
    claims.put_aside(connection, space_id, result.cycle_id, aside)
    cycle_rows.record(connection, space_id, staged.server_id, result, staged.started_at, order.at)
    connection.execute(delete(staged_versions).where(of_version))
    _serve(connection, order, version)
    gate_rows.end(connection, space_id, order.at, f"version {version} was promoted")
    gate = gate_rows.gate_config(settings_log.current(connection, space_id))
    gate_rows.open_gate(connection, space_id, version, live, order.at, gate)


def reject(connection: Connection, space_id: int, version: int) -> None:
    """Make a candidate one that is never served; its batches are left to the next cycle."""
    of_version = (state_versions.c.space_id == space_id) & (state_versions.c.version == version)
    connection.execute(update(state_versions).where(of_version).values(status="rejected"))
    of_version = (staged_versions.c.space_id == space_id) & (staged_versions.c.version == version)
    connection.execute(delete(staged_versions).where(of_version))


def rollback(
    connection: Connection, order: Order, target: int, nothing: LearnedState, *, keep_facts: bool
) -> RollbackResult:
    """Make the content of version ``target`` live again, as a new version.

    Args:
        connection: in a transaction.
        order: the request.
        target: a version that was live; 0 is ``nothing``, the state before learning.
        nothing: version 0 of the space.
        keep_facts: whether facts learned since become unlearned again; otherwise they are left out of learning.

    Raises:
        UnknownVersion: the version or its content is missing.
        VersionConflict: it is live, or never was, or the rollback would restore facts left out since.
        DamagedVersion: it cannot be read.
        UnsoundVersion: it must not be served.
    """
    space_id, name = order.space.space_id, order.space.name
    live = states.lock_space(connection, space_id)
    version, _ = states.newest(connection, space_id, live)
    if target == live:
        raise VersionConflict(f"version {target} of space {name!r} is live: there is nothing to roll back")
    found = _require_kept(connection, order.space, target, held=True)
    if target and found.status not in ("live", "retired"):
        raise VersionConflict(f"version {target} of space {name!r} is {found.status}, it was never live: promote it")
    _require_nothing_unlearned_since(connection, order.space, target, live)
    if target:
        _require_servable(connection, order.space, target)
    version_contents.keep_live(connection, space_id, live)  # so that the rollback can be undone
    cycle_id = uuid7()
    made = states.Making(order.at, order.server_id, "rollback", restores=target)
    if target:
        _copy_version(connection, space_id, target, version, cycle_id, made)
    else:
        state = dataclasses.replace(nothing, version=version, cycle_id=cycle_id)
        states.insert_version(connection, space_id, state, made)
        version_contents.write(connection, space_id, version, VersionContent(), order.at)
    undone, redone, count = held_cycles.hold_those_of(connection, space_id, target, version, keep_facts)
    _record(connection, order, "rollback", cycle_id, live, version, {"restores": target, "keep_facts": keep_facts})
    _serve(connection, order, version)
    gate_rows.end(connection, space_id, order.at, f"version {target} was rolled back to")
    return RollbackResult(version, target, undone, redone, count, keep_facts)


def put_in(
    connection: Connection,
    order: Order,
    loaded: Loaded,
    relocate: Callable[[LearnedState, NDArray[np.int32]], LearnedState],
    *,
    keep_facts: bool,
) -> int:
    """Make a version loaded from a file the live one; return its number. It contains nothing learned here before.

    Args:
        connection: in a transaction.
        order: the request.
        loaded: of the space's dimension.
        relocate: moves the statistics of candidates to their slots here.
        keep_facts: whether learned facts of this space become unlearned again; otherwise they are left out.
    """
    space_id = order.space.space_id
    live = states.lock_space(connection, space_id)
    # Above every version named in a pattern: ids of new patterns are made from their version's number.
    version = max(states.newest(connection, space_id, live)[0], loaded.newest + 1)
    version_contents.keep_live(connection, space_id, live)
    retired_at = next_time(driver_connection(connection), space_id)
    places = candidates.put_in(connection, space_id, loaded.catalog, loaded.retired, order.at, retired_at)
    cycle_id = uuid7()
    state = dataclasses.replace(relocate(loaded.state, places), version=version, parent=live, cycle_id=cycle_id)
    require_sound(state, loaded.patterns, order.space.dim)
    states.insert_version(connection, space_id, state, states.Making(order.at, order.server_id, "load"))
    content = VersionContent(loaded.patterns, state.routes, loaded.fisher, loaded.fisher)
    version_contents.write(connection, space_id, version, content, order.at)
    held_cycles.hold_those_of(connection, space_id, 0, version, keep_facts)
    _record(connection, order, "load", cycle_id, live, version, {"source": loaded.source, "keep_facts": keep_facts})
    _serve(connection, order, version)
    gate_rows.end(connection, space_id, order.at, f"version {version} was loaded from {loaded.source}")
    return version


def _require_servable(connection: Connection, space: Space, version: int) -> None:
    """Refuse a version that nobody could serve, or should."""
    found = read_version(connection, space.space_id, version)
    require_sound(found.state, found.patterns, space.dim)


def _serve(connection: Connection, order: Order, version: int) -> None:
    space_id = order.space.space_id
    version_contents.serve(connection, space_id, version, order.at)
    graph_rows.follow(connection, space_id, version, graph_rows.read(connection, space_id, version), order.at)
    states.make_live(connection, space_id, version)


def _copy_version(
    connection: Connection, space_id: int, source: int, version: int, cycle_id: UUID, made: states.Making
) -> None:
    row = connection.execute(
        select(state_versions.c.metrics, state_versions.c.format).where(
            state_versions.c.space_id == space_id, state_versions.c.version == source
        )
    ).one()
    connection.execute(
        insert(state_versions).values(
            space_id=space_id, version=version, parent=source, cycle_id=cycle_id, status=made.status,
            format=row.format, created_at=made.at, metrics=row.metrics, origin=made.origin, restores=source,
            server_id=made.server_id,
        )
    )  # fmt: skip
    version_contents.copy(connection, space_id, source, version)


def _record(
    connection: Connection, order: Order, loop: str, cycle_id: UUID, live: int, version: int, detail: dict[str, Any]
) -> None:
    """Record in ``sona.cycles`` the author, time and kind of a change of the live version."""
    connection.execute(
        insert(cycles).values(
            space_id=order.space.space_id, cycle_id=cycle_id, loop=loop, server_id=order.server_id, base_version=live,
            version=version, started_at=order.at, finished_at=order.at, trajectories=0, feedback=0, set_aside=0,
            patterns=_pattern_count(connection, order.space.space_id, version), detail=detail,
        )
    )  # fmt: skip


def _pattern_count(connection: Connection, space_id: int, version: int) -> int:
    count = text("SELECT patterns FROM sona.version_contents WHERE space_id = :space AND version = :version")
    return int(connection.scalar(count, {"space": space_id, "version": version}) or 0)


def _require_nothing_unlearned_since(connection: Connection, space: Space, target: int, live: int) -> None:
    # An erasure has dropped every version that held what it removed.
    by_erasure = exists().where(
        erasures.c.space_id == space.space_id,
        erasures.c.receipt["version"].astext.cast(BigInteger) == state_versions.c.version,
    )
    of_space = (state_versions.c.space_id == space.space_id) & (state_versions.c.origin == "rebuild") & ~by_erasure
    since = select(func.max(state_versions.c.version)).where(
        of_space, state_versions.c.version > target, state_versions.c.version <= live
    )
    rebuilt = connection.scalar(since)
    if rebuilt is not None and target:
        raise VersionConflict(
            f"version {target} of space {space.name!r} still holds facts that version {rebuilt} has unlearned: "
            f"roll back to version {rebuilt} or a later one"
        )


def _require_kept(connection: Connection, space: Space, version: int, *, held: bool = False) -> Any:
    """Return status and parent of a version whose content is kept; version 0 has none, and needs none.

    ``held`` locks it against pruning until the transaction ends.
    """
    of_version = (state_versions.c.space_id == space.space_id) & (state_versions.c.version == version)
    wanted = select(state_versions.c.status, state_versions.c.parent).where(of_version)
    row = connection.execute(wanted.with_for_update(read=True, key_share=True) if held else wanted).one_or_none()
    if version == 0:
        return None
    if row is None:
        raise UnknownVersion(
            f"space {space.name!r} has no version {version}: it was pruned, or never there; sona-pg versions lists them"
        )
    if not version_contents.is_kept(connection, space.space_id, version):
        raise VersionNotKept(
            f"the patterns of version {version} of space {space.name!r} are not kept: a release before schema revision "
            f"{KEPT_SINCE} has made it; versions of later cycles can be brought back"
        )
    return row
