"""Learning the adapters of a space from a slice of its ledger: signals, training, and what must not be forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.domain.ledger import Outcome, Steps, Trajectories
from sona_pg.domain.state import Arrays, FisherSnapshot, LoraWeights, RouteStatistics
from sona_pg.learning.boundary import StreamMoments
from sona_pg.learning.ewc import EwcPlusPlus
from sona_pg.learning.signal import REWARD_SHARE, advantages, direction_gradient, returns, unit
from sona_pg.learning.training import Schedule, flatten, forward, per_sample_gradients, train

TEMPERATURE = 20.0  # of the softmax over cosines, for choices among candidates
FISHER_SAMPLES = 256  # per cycle: what the Fisher information is estimated from
FISHER_CHUNK = 32  # rows of per-sample gradients in memory at once


@dataclass(frozen=True, slots=True, eq=False)
class ChoiceSet:
    """Candidates that were shown together, and what is known to have been right or wrong among them."""

    candidates: NDArray[np.float32]  # (m, dim) float32, unit rows
    rows: NDArray[np.int64]  # (n,) samples that chose from this set
    chosen: NDArray[np.int64]  # (n,) row of the candidate each was taught about


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """Samples for the adapters: directions that were taken, and choices that were made."""

    inputs: NDArray[np.float32]  # (n, dim) float32, unit rows
    targets: NDArray[np.float32]  # (n, dim) float32, unit rows; unused where a choice set is known
    advantage: NDArray[np.float32]  # (n,) float32
    choices: Sequence[ChoiceSet] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    @classmethod
    def none(cls, dim: int) -> Self:
        """Return no samples."""
        nothing = np.zeros((0, dim), np.float32)
        return cls(nothing, nothing, np.zeros(0, np.float32))

    def latest(self, count: int) -> Self:
        """Return the last ``count`` direction samples."""
        return type(self)(self.inputs[-count:], self.targets[-count:], self.advantage[-count:])

    def delta(self, outputs: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the policy gradient at ``outputs`` (b, dim) of the samples ``rows`` (b,).

        For a choice it is exact: ``Â (c - Σ_j π_j c_j)`` with ``π`` the softmax over the set's cosines.
        """
        wanted = direction_gradient(outputs, self.targets[rows], self.advantage[rows])
        position = np.full(len(self), -1, np.int64)
        position[rows] = np.arange(len(rows))
        for choice in self.choices:
            at = position[choice.rows]
            here = at >= 0
            if not here.any():
                continue
            directions = unit(outputs[at[here]])
            logits = TEMPERATURE * (directions @ choice.candidates.T)
            policy = np.exp(logits - logits.max(axis=1, keepdims=True))
            policy /= policy.sum(axis=1, keepdims=True)
            expected = policy @ choice.candidates
            gained = self.advantage[choice.rows[here]][:, None]
            wanted[at[here]] = gained * (choice.candidates[choice.chosen[here]] - expected)
        return wanted


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """The adapters after a cycle."""

    micro: LoraWeights
    base: tuple[LoraWeights, ...]
    routes: dict[str, RouteStatistics]
    fisher: list[FisherSnapshot]  # new ones, to be stored
    arrays: dict[str, Arrays]  # parts of the state version: ewc, stream
    samples: int
    shift: float  # the boundary statistic of this cycle's inputs


def trajectory_returns(fresh: Trajectories, steps: Steps, outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    """Return each trajectory's return as seen from its start, (n,) float64; NaN where nothing is known."""
    count = np.bincount(steps.trajectory, minlength=len(fresh))
    total = np.bincount(steps.trajectory, steps.reward, len(fresh))
    rewarded = np.bincount(steps.trajectory, steps.reward != 0, len(fresh)) > 0
    quality = np.array([np.nan if outcome.quality is None else outcome.quality for outcome in outcomes])
    return returns(quality, total / np.maximum(count, 1), rewarded)


def update_routes(
    known: dict[str, RouteStatistics], fresh: Trajectories, outcomes: Sequence[Outcome]
) -> dict[str, RouteStatistics]:
    """Return the statistics of every route with the rated fresh trajectories folded in, in order."""
    routes = dict(known)
    for row, (route, outcome) in enumerate(zip(fresh.routes, outcomes, strict=True)):
        if route is not None and outcome.quality is not None:
            latency = None if np.isnan(fresh.latency_us[row]) else float(fresh.latency_us[row])
            routes[route] = routes.get(route, RouteStatistics()).fold(outcome.quality, latency)
    return routes


def direction_signals(
    fresh: Trajectories, steps: Steps, outcomes: Sequence[Outcome], routes: dict[str, RouteStatistics]
) -> Signals:
    """Return one sample per usable step of a trajectory with a known return.

    The step's return is its own reward-to-go blended with the final quality; the baseline is the route's.
    """
    values = trajectory_returns(fresh, steps, outcomes)
    usable = steps.usable & np.isfinite(values[steps.trajectory]) if len(steps.usable) else steps.usable
    rows = np.flatnonzero(usable)
    if len(rows) == 0:
        return Signals.none(fresh.embeddings.shape[1])
    known = np.flatnonzero(np.isfinite(values))
    names = sorted({str(fresh.routes[int(row)]) for row in known})
    index = {name: group for group, name in enumerate(names)}
    groups = np.array([index[str(fresh.routes[int(row)])] for row in known], np.int64)
    before = [routes.get(name, RouteStatistics()) for name in names]
    gained = np.zeros(len(fresh))
    gained[known] = advantages(
        values[known],
        groups,
        np.array([float(known_route.size) for known_route in before]),
        np.array([known_route.quality for known_route in before]),
    )
    # A step's own advantage is the trajectory's, moved by how its reward-to-go differs from the start's.
    local = gained[steps.trajectory] + REWARD_SHARE * (_reward_to_go(steps) - _start_reward(steps, len(fresh)))
    owner = steps.trajectory[rows]
    per_trajectory = np.bincount(owner, minlength=len(fresh))[owner]
    inputs = unit(fresh.embeddings[owner])
    targets = unit(steps.activations[rows])
    alive = (np.linalg.norm(inputs, axis=1) > 0) & (np.linalg.norm(targets, axis=1) > 0)
    return Signals(inputs[alive], targets[alive], (local[rows] / per_trajectory)[alive].astype(np.float32))


def join(first: Signals, second: Signals) -> Signals:
    """Return the samples of both; the second's choice sets are renumbered behind the first's samples."""
    shifted = [ChoiceSet(item.candidates, item.rows + len(first), item.chosen) for item in second.choices]
    return Signals(
        np.concatenate([first.inputs, second.inputs]),
        np.concatenate([first.targets, second.targets]),
        np.concatenate([first.advantage, second.advantage]),
        [*first.choices, *shifted],
    )


def learn_adapters(
    signals: Signals,
    stream: NDArray[np.float32],
    micro: LoraWeights,
    base: tuple[LoraWeights, ...],
    routes: dict[str, RouteStatistics],
    arrays: dict[str, Arrays],
    snapshots: list[FisherSnapshot],
    config: SonaConfig,
    seed: int,
) -> Learned:
    """Train the micro adapter and layer 0 of the base on ``signals``.

    Args:
        signals: samples of this cycle, replay included.
        stream: (n, dim) unit embeddings of this cycle, in which a task boundary is looked for.
        micro, base: the adapters so far.
        routes: statistics to carry on.
        arrays: the parts ``ewc`` and ``stream`` of the live state; empty at first.
        snapshots: what earlier tasks left behind.
        config: rates, ranks, bounds.
        seed: of the shuffles.
    """
    layer = base[0]
    ewc = EwcPlusPlus(2 * layer.rank * layer.dim, config.ewc)
    moments = StreamMoments.empty(layer.dim)
    if "ewc" in arrays and len(arrays["ewc"]["average"]) == 2 * layer.rank * layer.dim:
        ewc.restore(arrays["ewc"], snapshots)
    if "stream" in arrays:
        moments = StreamMoments.from_arrays(arrays["stream"])
    shift = moments.shift(stream)
    new: list[FisherSnapshot] = []
    if shift > config.ewc.boundary_threshold:
        snapshot = ewc.start_new_task(flatten(layer))
        new = [snapshot] if snapshot is not None else []
        moments = StreamMoments.empty(layer.dim)
    moments = moments.fold(stream)
    if len(signals):
        rate = config.base.learning_rate
        schedule = Schedule(rate, config.base.passes, config.base.max_norm, seed)
        layer = train(layer, signals.inputs, signals.delta, schedule, ewc)
        quick = Schedule(config.micro.learning_rate, 1, config.micro.max_norm, seed + 1)
        micro = train(micro, signals.inputs, signals.delta, quick)
        _fold_fisher(ewc, layer, signals, seed)
    return Learned(
        micro=micro,
        base=(layer, *base[1:]),
        routes=routes,
        fisher=new,
        arrays={"ewc": ewc.to_arrays(), "stream": moments.to_arrays()},
        samples=len(signals),
        shift=shift,
    )


def _fold_fisher(ewc: EwcPlusPlus, layer: LoraWeights, signals: Signals, seed: int) -> None:
    rng = np.random.default_rng([seed, len(signals)])
    rows = rng.permutation(len(signals))[:FISHER_SAMPLES]
    for start in range(0, len(rows), FISHER_CHUNK):
        chosen = rows[start : start + FISHER_CHUNK]
        inputs = signals.inputs[chosen]
        delta = signals.delta(forward(layer, inputs), chosen)
        ewc.update_fisher(per_sample_gradients(layer, inputs, delta))


def _reward_to_go(steps: Steps) -> NDArray[np.float64]:
    """Return for each step the mean reward from it to the end of its trajectory."""
    n = len(steps.reward)
    out = np.zeros(n)
    total, count = 0.0, 0
    for row in range(n - 1, -1, -1):
        if row == n - 1 or steps.trajectory[row] != steps.trajectory[row + 1]:
            total, count = 0.0, 0
        total += steps.reward[row]
        count += 1
        out[row] = total / count
    return out


def _start_reward(steps: Steps, trajectories: int) -> NDArray[np.float64]:
    """Return for each step the mean reward of its whole trajectory."""
    count = np.bincount(steps.trajectory, minlength=trajectories)
    total = np.bincount(steps.trajectory, steps.reward, trajectories)
    return np.asarray((total / np.maximum(count, 1))[steps.trajectory])
