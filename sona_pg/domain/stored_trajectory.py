"""Recorded trajectories with all that was said of them, as an export reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.judged import Fact
from sona_pg.domain.ledger_slice import Outcome


@dataclass(frozen=True, slots=True)
class StoredStep:
    """One step, as it is stored."""

    offset_us: int  # since the trajectory began
    reward: float
    activations: Sequence[float] | None
    attention_weights: Sequence[float] | None


@dataclass(frozen=True, slots=True, eq=False)
class StoredTrajectory:
    """One row of the ledger, its steps, its candidates and its feedback."""

    id: UUID
    query: str | None
    route: str | None
    quality: float | None  # told at the end
    latency_us: int | None
    cost: float | None  # estimated by the decision
    paid: float | None  # real cost, as told at the end
    propensity: float | None  # None: no routing decision
    features: Sequence[float]
    version: int | None  # that had chosen
    candidates: Sequence[str] | None  # None: there was no choice; empty: a choice among too many to list
    context: Sequence[str]
    parameters: Mapping[str, Any]
    steps: Sequence[StoredStep]
    facts: Sequence[Fact]  # by source and sequence
    outcome: Outcome
    imported_id: str | None  # of the row of a file that it was imported from
    embedding: NDArray[np.float16] | None  # (dim,) if asked for, and of the space's dimension
