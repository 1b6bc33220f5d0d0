"""Knowledge of a space at one version, and the parts of it; input of a cycle beside its slice."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sona_pg.config import SonaConfig
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.ledger_slice import Outcome, Steps, Trajectories
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import FisherSnapshot, LearnedState, LoraWeights
from sona_pg.learning.adapters.baseline import Baseline
from sona_pg.learning.adapters.resizing import grown_snapshots, grown_state
from sona_pg.learning.graph.learned_graph import LearnedGraph
from sona_pg.learning.patterns.kind_model import KindModel
from sona_pg.learning.ranking.ranker import RankerState
from sona_pg.learning.replay import Reservoir
from sona_pg.learning.routing.learned_router import Router


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """Everything learned by a space at one version."""

    state: LearnedState
    patterns: Sequence[LearnedPattern]
    fisher: Sequence[FisherSnapshot]

    @classmethod
    def initial(cls, dim: int, config: SonaConfig) -> Knowledge:
        """Return version 0: adapters that leave their input as it is, and no patterns."""
        return cls(initial_state(dim, config), [], [])

    def grown_to(self, config: SonaConfig) -> Knowledge:
        """Return the same knowledge in adapters of the ranks and layers that ``config`` asks for; nothing is lost."""
        state = grown_state(self.state, config)
        if state is self.state:
            return self
        return Knowledge(state, self.patterns, grown_snapshots(self.fisher, self.state.base[0], state.base[0]))


@dataclass(frozen=True, slots=True, eq=False)
class Relearned:
    """Earlier trajectories for relearning the adapters; see ``relearning``."""

    trajectories: Trajectories
    outcomes: Sequence[Outcome]
    steps: Steps


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Input of a cycle beside its slice: earlier trajectories with their outcomes now, and the candidates."""

    trajectories: Trajectories
    outcomes: Sequence[Outcome]
    catalog: Catalog
    sets: Mapping[int, Sequence[str]]  # the candidate sets that the slice and the trajectories name
    kinds: KindModel | None = None  # of the space, at the version that is made
    relearned: Relearned | None = None  # those that ``relearning.rows_relearned`` names
    # Group and position of candidates, for a slice with sessions.
    order: Mapping[str, tuple[str, int]] = field(default_factory=dict)


def initial_state(dim: int, config: SonaConfig) -> LearnedState:
    """Return version 0 of a space, determined by seed and ranks."""
    return _initial_state(dim, config.loops.seed, config.micro.rank, config.base.rank, config.base.layers)


@functools.lru_cache(maxsize=16)  # most of a thousand new spaces share one
def _initial_state(dim: int, seed: int, micro_rank: int, base_rank: int, layers: int) -> LearnedState:
    base = tuple(LoraWeights.initial(base_rank, dim, seed + 1 + layer) for layer in range(layers))
    return LearnedState(version=0, parent=0, micro=LoraWeights.initial(micro_rank, dim, seed), base=base)


def baseline_of(state: LearnedState) -> Baseline:
    """Return the running baseline of a state."""
    return Baseline.from_arrays(state.arrays["baseline"]) if "baseline" in state.arrays else Baseline()


def ranker_of(state: LearnedState) -> RankerState:
    """Return the ranker of a state."""
    if "ranker" in state.arrays:
        return RankerState.from_arrays(state.arrays["ranker"])
    return RankerState.initial(state.micro.dim)


def router_of(state: LearnedState, config: SonaConfig) -> Router:
    """Return the router of a state."""
    if "router" in state.arrays:
        return Router.from_arrays(state.arrays["router"])
    return Router.initial(state.micro.dim, config.loops.seed)


def graph_of(state: LearnedState) -> LearnedGraph:
    """Return the memory graph of a state; empty while nothing was learned about it."""
    if "graph" in state.arrays:
        return LearnedGraph.from_arrays(state.arrays["graph"])
    return LearnedGraph.empty(state.micro.dim)


def reservoir_of(state: LearnedState, config: SonaConfig) -> Reservoir:
    """Return the sample of rated trajectories of a state."""
    if "replay" in state.arrays:
        return Reservoir.from_arrays(state.arrays["replay"], config.loops.replay)
    return Reservoir.empty(config.loops.replay)


def seed_of(config: SonaConfig, version: int) -> int:
    """Return the seed of every random draw for ``version``."""
    return config.loops.seed * 1_000_003 + version
