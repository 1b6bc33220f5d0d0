"""The router's part of a cycle: from trajectories with a route to the router's state, and the names of its routes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.ledger import Outcome, Trajectories
from sona_pg.domain.state import Arrays
from sona_pg.learning.router import RouterState
from sona_pg.learning.router_events import RouteEvents
from sona_pg.learning.router_fit import RouterConfig, fit
from sona_pg.learning.signal import unit

MAX_ROUTES = 64  # more names than this are answers, not routes: they are learned by the ranker alone


@dataclass(frozen=True, slots=True, eq=False)
class Router:
    """The router's learned state with the names of its routes."""

    state: RouterState
    names: tuple[str, ...] = ()
    index: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def empty(cls, dim: int, seed: int) -> Self:
        """Return a router that has seen nothing."""
        return cls(RouterState.empty(dim, seed))

    def known(self, candidates: Sequence[str]) -> NDArray[np.int64]:
        """Return the index of each candidate; ones never seen get indices of their own behind the known."""
        fresh = iter(range(len(self.names), len(self.names) + len(candidates)))
        return np.array([self.index[name] if name in self.index else next(fresh) for name in candidates])

    def learn(
        self,
        fresh: Trajectories,
        outcomes: Sequence[Outcome],
        replay: Trajectories,
        past: Sequence[Outcome],
        seed: int,
    ) -> Self:
        """Return the router after folding the rated fresh trajectories that have a route and no candidate set."""
        names = list(self.names)
        index = dict(self.index)
        for row in _rows(fresh, outcomes):
            name = fresh.routes[row]
            if name is not None and name not in index and len(names) < MAX_ROUTES:
                index[name] = len(names)
                names.append(name)
        events = _events(fresh, outcomes, index)
        if not len(events):
            return self
        state = fit(self.state, events, _events(replay, past, index), RouterConfig(), seed)
        return type(self)(state, tuple(names), index)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the state and the names as arrays."""
        names = np.frombuffer(json.dumps(self.names).encode(), np.uint8)
        return {**self.state.to_arrays(), "names": names}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Take up what ``to_arrays`` gave."""
        names = tuple(json.loads(arrays["names"].tobytes()))
        state = RouterState.from_arrays({key: value for key, value in arrays.items() if key != "names"})
        return cls(state, names, {name: row for row, name in enumerate(names)})


def _rows(stored: Trajectories, outcomes: Sequence[Outcome]) -> list[int]:
    return [
        row
        for row, outcome in enumerate(outcomes)
        if outcome.quality is not None and stored.routes[row] is not None and stored.candidate_sets[row] == 0
    ]


def _events(stored: Trajectories, outcomes: Sequence[Outcome], index: Mapping[str, int]) -> RouteEvents:
    rows = [row for row in _rows(stored, outcomes) if stored.routes[row] in index]
    return RouteEvents(
        query=unit(stored.embeddings[rows]),
        route=np.array([index[str(stored.routes[row])] for row in rows], np.int64),
        quality=np.array([outcomes[row].quality for row in rows], np.float32),
        latency=stored.latency_us[rows].astype(np.float32),
        propensity=stored.propensity[rows].astype(np.float32),
    )
