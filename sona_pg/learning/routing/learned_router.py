"""The router's part of a cycle: from trajectories with a route to the router's state, and the names of its routes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.ledger_slice import Outcome, Trajectories
from sona_pg.domain.state import Arrays
from sona_pg.learning.routing.router import RouterState
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_fit import RouterConfig, fit, revise, withdraw
from sona_pg.learning.vectors import unit
from sona_pg.limits import MOST_ROUTER_ROUTES

CONFIG = RouterConfig(landmarks=512, width=256)  # half the work of the default: benchmarks/eval/EVIDENCE.md


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Trajectories with their outcomes."""

    trajectories: Trajectories
    outcomes: Sequence[Outcome]
    learned: NDArray[np.int32] | None = None  # (n,) versions that learned them, where they are revised or retracted

    def routed(self) -> list[int]:
        """Return the rated rows with a route, as opposed to a candidate of a ranking.

        Both may name a set of candidates; only a decision has a propensity.
        """
        stored = self.trajectories
        decided = (stored.candidate_sets == 0) | np.isfinite(stored.propensity)
        each = zip(self.outcomes, stored.routes, decided.tolist(), strict=True)
        return [
            row
            for row, (outcome, route, is_decision) in enumerate(each)
            if is_decision and route is not None and outcome.quality is not None
        ]

    def events(self, index: Mapping[str, int], width: int, rows: Sequence[int] | None = None) -> RouteEvents:
        """Return the routed rows, or those of ``rows`` among them, as the router's events with ``width`` features."""
        stored = self.trajectories
        wanted = None if rows is None else set(rows)
        chosen = [row for row in self.routed() if stored.routes[row] in index and (wanted is None or row in wanted)]
        return RouteEvents(
            query=unit(stored.embeddings[chosen]),
            route=np.array([index[str(stored.routes[row])] for row in chosen], np.int32),
            quality=np.array([self.outcomes[row].quality for row in chosen], np.float32),
            features=_of_width(stored.features[chosen], width),
            cost=stored.cost[chosen].astype(np.float32),
            latency=stored.latency_us[chosen].astype(np.float32),
            propensity=stored.propensity[chosen].astype(np.float32),
            paid=np.array([_or_nan(self.outcomes[row].paid) for row in chosen], np.float32),
            learned=None if self.learned is None else self.learned[chosen],
        )


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _of_width(features: NDArray[np.float32], width: int) -> NDArray[np.float32] | None:
    """Return ``features`` (n, f) as (n, width); rows of another width count as unknown, rather than stop a cycle."""
    if width == 0:
        return None
    out = np.full((len(features), width), np.nan, np.float32)
    if features.shape[1] >= width:
        fitting = np.isfinite(features).sum(axis=1) == width
        out[fitting] = features[fitting, :width]
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Router:
    """The router's learned state with the names of its routes."""

    state: RouterState
    names: tuple[str, ...] = ()
    index: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def initial(cls, dim: int, seed: int) -> Self:
        """Return a router before any feedback."""
        return cls(RouterState.initial(dim, seed))

    def known(self, candidates: Sequence[str]) -> NDArray[np.int64]:
        """Return the index of each candidate; ones never seen get indices of their own behind the known."""
        fresh = iter(range(len(self.names), len(self.names) + len(candidates)))
        return np.array([self.index[name] if name in self.index else next(fresh) for name in candidates])

    def learn(
        self, fresh: Judged, revised: Judged, before: Sequence[Outcome], replay: Judged, seed: int, version: int
    ) -> Self:
        """Return the router after folding every rated trajectory that has a route and no candidate set.

        Args:
            fresh: new trajectories.
            revised: earlier ones whose outcome has changed from ``before``.
            replay: a sample of all earlier ones.
            seed: of the basis.
            version: the number of the version being made.
        """
        late = [row for row, outcome in enumerate(before) if outcome.quality is None]
        kept = self._without(Judged(revised.trajectories, before, revised.learned), revised.outcomes)
        names = list(kept.names)
        index = dict(kept.index)
        for judged in (fresh, revised):
            for row in judged.routed():
                name = str(judged.trajectories.routes[row])
                if name not in index and len(names) < MOST_ROUTER_ROUTES:
                    index[name] = len(names)
                    names.append(name)
        width = kept.features_for(fresh)
        changed = [row for row in revised.routed() if before[row].quality is not None]
        known = [before[row] for row in changed if revised.trajectories.routes[row] in index]
        told = np.array([outcome.quality for outcome in known], np.float32)
        paid = np.array([_or_nan(outcome.paid) for outcome in known], np.float32)
        state = revise(kept.state, revised.events(index, width, changed), told, paid) if changed else kept.state
        events = fresh.events(index, width).followed_by(revised.events(index, width, late))
        if len(events):
            state = fit(state, events, replay.events(index, width), CONFIG, seed, version)
        return type(self)(state, tuple(names), index)

    def _without(self, told: Judged, outcomes: Sequence[Outcome]) -> Self:
        """Return the router without those of ``told`` that have lost their rating, by their current ``outcomes``."""
        gone = [row for row in told.routed() if outcomes[row].quality is None]
        if not gone:
            return self
        state = withdraw(self.state, told.events(self.index, self.width, gone))
        return type(self)(state) if not state.route_count else dataclasses.replace(self, state=state)

    @property
    def width(self) -> int:
        """The number of features it was taught with; 0 while there were none."""
        return len(self.state.basis.feature_mean)

    def features_for(self, fresh: Judged) -> int:
        """Return the number of features: fixed by the first basis, before that by the events."""
        return self.width or fresh.trajectories.features.shape[1]

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the state and the names as arrays."""
        names = np.frombuffer(json.dumps(self.names).encode(), np.uint8)
        return {**self.state.to_arrays(), "names": names}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Restore from ``to_arrays``."""
        names = tuple(json.loads(arrays["names"].tobytes()))
        state = RouterState.from_arrays({key: value for key, value in arrays.items() if key != "names"})
        return cls(state, names, {name: row for row, name in enumerate(names)})
