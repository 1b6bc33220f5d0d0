"""Reading of the ledger by cycles: the slice to claim, or the one of a past cycle."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection

from sona_pg.domain.ledger_slice import LedgerSlice
from sona_pg.store import claims
from sona_pg.store.claims import Claim, Horizon, Limit
from sona_pg.store.copying import as_ids, keys_of
from sona_pg.store.outcome_rows import outcomes_of, read_facts
from sona_pg.store.trajectory_rows import no_steps, read_by_id, read_claimed, read_steps


def claim(connection: Connection, space_id: int, dim: int, most: int, limit: Limit | None) -> LedgerSlice:
    """Read the next slice of unlearned facts; see ``claims.next_slice``.

    The batches listed first decide which facts count, not the time of each statement.
    """
    claimed = claims.next_slice(connection, space_id, dim, most, limit)
    return _slice(connection, space_id, dim, claimed, claims.unclaimed_but(claimed.batches))


def claimed_by(connection: Connection, space_id: int, dim: int, cycle_id: UUID, version: int) -> LedgerSlice:
    """Read again the slice of cycle ``cycle_id``, which made ``version``, as the ledger was at that time."""
    return _slice(
        connection, space_id, dim, claims.of_cycle(connection, space_id, cycle_id), claims.as_of(space_id, version)
    )


def _slice(connection: Connection, space_id: int, dim: int, claim: Claim, horizon: Horizon) -> LedgerSlice:
    """Return the slice of ``claim``: the facts of its batches, and related facts within the horizon."""
    read, unreadable = read_claimed(connection, space_id, dim, claim)
    facts = read_facts(connection, space_id, claim, read.ids, horizon)
    new = {trajectory for trajectory, said in facts.items() if any(fact.new for fact in said)}
    skipped = {trajectory.bytes for trajectory, _ in unreadable}
    earlier = sorted(new - set(keys_of(read.ids)) - skipped)
    revised = read_by_id(connection, space_id, dim, as_ids(earlier), horizon)
    learned = {key: [fact for fact in facts[key] if not fact.new] for key in keys_of(revised.ids)}
    return LedgerSlice(
        batches=claim.batches,
        fresh=read,
        steps=read_steps(connection, space_id, read.ids, dim) if claim.steps and len(read) else no_steps(dim),
        outcomes=outcomes_of(read, facts),
        revised=revised,
        before=outcomes_of(revised, learned),
        after=outcomes_of(revised, facts),
        feedback=sum(fact.new for said in facts.values() for fact in said),
        waiting=len(earlier) - len(revised),
        unreadable=unreadable,
        revised_steps=read_steps(connection, space_id, revised.ids, dim) if len(revised) else no_steps(dim),
        followed=claim.followed,
    )
