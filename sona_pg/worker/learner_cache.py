"""Learner cache: avoids re-reading the ledger in the next cycle."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.ledger_slice import LedgerSlice, Outcome, Trajectories
from sona_pg.learning.knowledge import Knowledge, Stored
from sona_pg.learning.step import replay_ids
from sona_pg.store.copying import keys_of, sortable


@dataclass(frozen=True, slots=True, eq=False)
class LearnerCache:
    """Knowledge of the version a learner has made, and the replay of the next learning step.

    Bit-identical to the contents of the store as long as that version is live and nothing was deleted.
    """

    cycle_id: UUID  # that made the version
    knowledge: Knowledge
    catalog: Catalog
    trajectories: Trajectories  # trajectories of ``replay_ids``, ordered by id
    outcomes: Sequence[Outcome]  # outcome of each, by all claimed facts

    @classmethod
    def after(
        cls, cycle_id: UUID, knowledge: Knowledge, claimed: LedgerSlice, stored: Stored, config: SonaConfig
    ) -> Self:
        """Return the cache after a cycle that has learned ``knowledge`` from ``claimed`` and ``stored``."""
        parts = (stored.trajectories, claimed.revised, claimed.fresh)
        outcomes = [*stored.outcomes, *claimed.after, *claimed.outcomes]
        trajectories = parts[0].joined(parts[1]).joined(parts[2])
        keys, first = np.unique(sortable(trajectories.ids), return_index=True)
        rows = first[np.isin(keys, sortable(replay_ids(knowledge.state, config)))]
        in_order = trajectories.take(rows)
        in_order = dataclasses.replace(in_order, features=_narrowed(in_order.features))
        return cls(cycle_id, knowledge, stored.catalog, in_order, [outcomes[row] for row in rows])

    @property
    def version(self) -> int:
        """Number of the cached version."""
        return self.knowledge.state.version

    def outcomes_with(self, claimed: LedgerSlice) -> list[Outcome]:
        """Return the outcome of each trajectory, updated by the facts of ``claimed``."""
        said = dict(zip(keys_of(claimed.revised.ids), claimed.after, strict=True))
        if not said:
            return list(self.outcomes)
        return [
            said.get(key, outcome) for key, outcome in zip(keys_of(self.trajectories.ids), self.outcomes, strict=True)
        ]


def _narrowed(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``features`` (n, f) without trailing columns that are NaN in every row."""
    known = np.flatnonzero(~np.isnan(features).all(axis=0))
    return features[:, : int(known[-1]) + 1 if len(known) else 0]
