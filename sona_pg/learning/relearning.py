"""Relearning of the adapters, once much of their feedback was revised or retracted.

``reversal`` turns outputs back query by query. Queries whose steps share a few directions move each other's outputs, so
most of what 200 retracted among 600 trajectories had moved stayed (docs/decisions.md). Once more than ``SHARE`` of the
feedback has changed, the adapters are therefore trained again from version 0: on the replay of a cycle, in the order of
the versions that learned it first, with the steps of at most ``MOST`` trajectories. If the history is not longer than
that, the result is that of a space without the retracted facts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.domain.ledger_slice import LedgerSlice, Trajectories
from sona_pg.domain.state import LearnedState
from sona_pg.learning.adapters.ewc_kronecker import lasting
from sona_pg.learning.adapting import adapt, told_of
from sona_pg.learning.knowledge import (
    Knowledge,
    Relearned,
    Stored,
    baseline_of,
    initial_state,
    reservoir_of,
    seed_of,
)
from sona_pg.learning.ranking.ranker import RankerState
from sona_pg.learning.replay import Reservoir

SHARE = 0.05  # of the rated trajectories: changes up to here are turned back
# The same where the sample is not the whole history: adapters that saw a part answer worse (docs/decisions.md).
SHARE_OF_SAMPLED = 0.2
MOST = 8192  # trajectories that are learned from anew
GROUPS = 32  # versions that are learned anew, at most; of more, neighbours are learned together
RATED = 0.9  # of all returns, at least, are of rated trajectories: the sample has no others


def count_changed(claimed: LedgerSlice) -> int:
    """Return the number of trajectories whose learned outcome a slice changes."""
    return sum(
        old.quality is not None and (old.quality, old.correction) != (new.quality, new.correction)
        for old, new in zip(claimed.before, claimed.after, strict=True)
    )


def rows_relearned(
    state: LearnedState, claimed: LedgerSlice, stored: Trajectories, config: SonaConfig, version: int
) -> NDArray[np.intp] | None:
    """Return the rows of ``stored`` to learn from anew, a uniform sample in order, or None unless much has changed.

    Trajectories that the slice revises are not among them: they are learned with the slice.
    """
    changed = count_changed(claimed)
    if not changed:
        return None
    reservoir = reservoir_of(state, config)
    whole = reservoir.seen <= min(len(reservoir.ids), MOST)
    few = reservoir.turned + changed <= (SHARE if whole else SHARE_OF_SAMPLED) * reservoir.seen
    if few or reservoir.seen < RATED * baseline_of(state).count:
        return None
    revised = frozenset(claimed.revised.uuids())
    sampled = reservoir.sampled(stored.ids)
    rows = np.array([row for row, id_ in enumerate(stored.uuids()) if sampled[row] and id_ not in revised], np.intp)
    if not len(rows) and len(reservoir.ids) < reservoir.seen:
        return None  # others stand, and the sample has none of them
    return np.sort(np.random.default_rng([seed_of(config, version), 17]).permutation(rows)[:MOST])


def relearned_from(before: Knowledge, stored: Stored, ranker: RankerState, config: SonaConfig) -> Knowledge:
    """Return ``before`` with adapters and EWC learned again from ``stored.relearned``."""
    assert stored.relearned is not None
    again, dim = stored.relearned, before.state.micro.dim
    reservoir = reservoir_of(before.state, config)
    known = Knowledge(initial_state(dim, config), (), ())
    earlier: list[int] = []
    for version, rows in _groups(again, reservoir):
        read = dataclasses.replace(
            stored,
            trajectories=again.trajectories.take(np.array(earlier, np.intp)),
            outcomes=[again.outcomes[row] for row in earlier],
        )
        known = _after(known, _part(again, rows), read, ranker, config, version)
        earlier = sorted([*earlier, *rows.tolist()])
    made = known.state.arrays
    arrays = {name: value for name, value in before.state.arrays.items() if name != "ewc"}
    if "ewc" in made:
        arrays["ewc"] = made["ewc"]
    state = dataclasses.replace(before.state, micro=known.state.micro, base=known.state.base, arrays=arrays)
    return Knowledge(state, before.patterns, known.fisher)


def _after(
    known: Knowledge, part: LedgerSlice, read: Stored, ranker: RankerState, config: SonaConfig, version: int
) -> Knowledge:
    seed = seed_of(config, version)
    adapted = adapt(known, part, read, told_of(part, read), ranker, config, seed, turn_back=False)
    arrays = {**adapted.step.arrays, "baseline": adapted.baseline.to_arrays()}
    state = dataclasses.replace(known.state, micro=adapted.step.micro, base=adapted.step.base, arrays=arrays)
    return Knowledge(state, (), lasting([*adapted.protected, *adapted.step.fisher], config.ewc.max_tasks))


def _groups(again: Relearned, reservoir: Reservoir) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield the rows that were learned first by the same version, or by neighbours, with the last of these."""
    learned = dict(zip(map(bytes, reservoir.ids), reservoir.versions.tolist(), strict=True))
    versions = np.array([learned.get(id_.bytes, 0) for id_ in again.trajectories.uuids()], np.int64)
    for together in np.array_split(np.unique(versions), GROUPS):
        if len(together):
            yield int(together[-1]), np.flatnonzero(np.isin(versions, together))


def _part(again: Relearned, rows: NDArray[np.intp]) -> LedgerSlice:
    nothing = np.zeros(0, np.intp)
    return LedgerSlice(
        batches=(),
        fresh=again.trajectories.take(rows),
        steps=again.steps.of_rows(rows, len(again.trajectories)),
        outcomes=[again.outcomes[row] for row in rows.tolist()],
        revised=again.trajectories.take(nothing),
        before=(),
        after=(),
        feedback=0,
        waiting=0,
        unreadable=(),
        revised_steps=again.steps.of_rows(nothing, len(again.trajectories)),
    )
