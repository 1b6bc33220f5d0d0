"""Loop A: the micro adapter follows this server's own traffic, without the database."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import MicroConfig
from sona_pg.domain.state import LoraWeights
from sona_pg.domain.trajectory import QueryTrajectory
from sona_pg.learning.adapters.baseline import Baseline, numbered
from sona_pg.learning.adapters.samples import Directions
from sona_pg.learning.adapters.signal import LearningSignal, returns
from sona_pg.learning.adapters.training import Schedule, batch_size, train
from sona_pg.standalone.lora import MicroLoRA
from sona_pg.standalone.trajectory_buffer import TrajectoryBuffer

MAX_SAMPLES = 512  # steps queued or learned from at once: bounds the writer's time spent in loop A


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """Steps for the next update, by column."""

    trajectory: NDArray[np.int64]  # (s,) number of the trajectory, ascending
    value: NDArray[np.float64]  # (s,) its return
    ids: NDArray[np.uint8]  # (s, 16) its id; 0 where it is not known
    inputs: NDArray[np.float32]  # (s, dim) its embedding
    targets: NDArray[np.float32]  # (s, dim) activations

    def __len__(self) -> int:
        return len(self.trajectory)

    @classmethod
    def empty(cls, dim: int) -> _Waiting:
        rows = np.zeros((0, dim), np.float32)
        return cls(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 16), np.uint8), rows, rows)

    def followed_by(self, other: _Waiting, most: int) -> _Waiting:
        """Return these steps and then the others; at most the latest ``most``."""
        return _Waiting(
            np.concatenate([self.trajectory, other.trajectory])[-most:],
            np.concatenate([self.value, other.value])[-most:],
            np.concatenate([self.ids, other.ids])[-most:],
            np.concatenate([self.inputs, other.inputs])[-most:],
            np.concatenate([self.targets, other.targets])[-most:],
        )


@dataclass(frozen=True, slots=True)
class InstantMetrics:
    """Counters of loop A in this process."""

    trajectories: int
    updates: int
    pending: int


@dataclass(frozen=True, slots=True, eq=False)
class _Learned:
    """Steps learned by loop A and not yet by a version."""

    ids: NDArray[np.uint8]  # (s, 16) of their trajectories
    signals: Directions  # (s,)

    def without(self, learned: Collection[bytes]) -> _Learned:
        """Return the steps of the trajectories that are not ``learned``."""
        rows = np.array([row for row, id_ in enumerate(self.ids) if id_.tobytes() not in learned], np.int64)
        return _Learned(self.ids[rows], self.signals.take(rows))


class InstantLoop:
    """Turns trajectories into steps of the micro adapter. Thread-safe; held for a batch, never for a request."""

    def __init__(self, micro: LoraWeights, config: MicroConfig, seed: int = 0, capacity: int = 10_000) -> None:
        """Start from the published micro adapter; ``capacity`` trajectories are kept for ``drain_trajectories``."""
        self.config = config
        self._micro = micro
        self._seed = seed
        self._baseline = Baseline()  # over all routes, unlike the published one
        self._pending = _Waiting.empty(micro.dim)
        self._recent: list[_Learned] = []
        self._trajectories = 0
        self._updates = 0
        self._seen = TrajectoryBuffer(capacity)
        self._lock = threading.Lock()

    @property
    def micro_lora(self) -> MicroLoRA:
        """Copy of the micro adapter as of the last flush; later learning does not change it."""
        return MicroLoRA(self._micro.dim, self._micro.rank, seed=self._seed, weights=self._micro)

    def drain_trajectories(self) -> list[QueryTrajectory]:
        """Return the trajectories given to ``on_inference`` since the last call, oldest first, for a ``ReasoningBank``.

        The engine's own loop gives none: its trajectories go through the ledger.
        """
        return self._seen.drain()

    @property
    def micro(self) -> LoraWeights:
        """The micro adapter as of the last flush."""
        return self._micro

    def learn_with(self, config: MicroConfig) -> None:
        """Use the rate and bound of ``config`` from the next flush on."""
        with self._lock:
            self.config = config

    @property
    def recent_ids(self) -> NDArray[np.uint8]:
        """Ids (n, 16) of the trajectories that this loop has learned from, the latest, each once."""
        with self._lock:
            parts = [part.ids for part in self._recent]
        return np.unique(np.concatenate(parts), axis=0) if parts else np.zeros((0, 16), np.uint8)

    def adopt(self, micro: LoraWeights, learned: Collection[bytes] | None = None) -> LoraWeights:
        """Adopt a published adapter, and return it with this loop's additional learning.

        Args:
            micro: the adapter.
            learned: ids of the ``recent_ids`` that the published adapter has learned from; None: all of them.
        """
        with self._lock:
            self._micro = micro
            kept = [] if learned is None else [part.without(learned) for part in self._recent]
            self._recent = [part for part in kept if len(part.ids)]
            if learned is None:
                self._pending = _Waiting.empty(micro.dim)
            for part in self._recent:
                self._train(part.signals)
            return self._micro

    def on_inference(self, trajectory: QueryTrajectory) -> None:
        """Learn from one finished trajectory; the adapter moves with the next ``flush_updates``."""
        self._seen.record(trajectory)
        signal = LearningSignal.from_trajectory(trajectory)
        targets = [
            np.asarray(step.activations, np.float32)
            for step in trajectory.steps
            if step.activations is not None and len(step.activations) == len(signal.embedding)
        ]
        activations = np.stack(targets) if targets else np.zeros((0, len(signal.embedding)), np.float32)
        owners = np.zeros(len(targets), np.int64)
        quality = np.array([np.nan if trajectory.quality is None else trajectory.quality])
        rewards = np.array([[step.reward for step in trajectory.steps]]).sum(axis=1)
        count = max(len(trajectory.steps), 1)
        self.on_batch(signal.embedding[None, :], quality, rewards / count, owners, activations)

    def on_batch(
        self,
        embeddings: NDArray[np.float32],
        quality: NDArray[np.floating[Any]],
        mean_reward: NDArray[np.float64],
        step_owner: NDArray[np.integer[Any]],
        step_activations: NDArray[np.float32],
        ids: NDArray[np.uint8] | None = None,
    ) -> None:
        """Learn from a batch of finished trajectories; at most from the latest steps.

        Args:
            embeddings: (n, dim) float32.
            quality: (n,) NaN where unknown.
            mean_reward: (n,) mean reward over each trajectory's steps; 0 where there are none.
            step_owner: (s,) row of each usable step's trajectory.
            step_activations: (s, dim) float32.
            ids: (n, 16) of the trajectories, to find those that a published adapter has learned from.
        """
        with self._lock:
            numbers = self._trajectories + np.arange(len(embeddings))
            self._trajectories += len(embeddings)
            values = returns(np.asarray(quality, np.float64), mean_reward, mean_reward != 0)
            owners = np.asarray(step_owner[-MAX_SAMPLES:], np.int64)
            waiting = np.isin(np.arange(len(values)), owners)
            self._fold(values[np.isfinite(values) & ~waiting])
            usable = np.flatnonzero(np.isfinite(values[owners]))
            owners, targets = owners[usable], step_activations[-MAX_SAMPLES:][usable]
            named = np.zeros((len(values), 16), np.uint8) if ids is None else ids
            news = _Waiting(
                numbers[owners], values[owners], named[owners], np.asarray(embeddings[owners], np.float32), targets
            )
            self._pending = self._pending.followed_by(news, MAX_SAMPLES)

    def flush_updates(self) -> LoraWeights:
        """Apply the queued steps, and return the micro adapter."""
        with self._lock:
            waiting, self._pending = self._pending, _Waiting.empty(self._micro.dim)
            news = self._signals(waiting)
            if len(news.ids):
                self._train(news.signals)
                self._updates += -(-len(news.ids) // batch_size(len(news.ids)))
                self._recent.append(news)
                while sum(len(part.ids) for part in self._recent[1:]) >= MAX_SAMPLES:
                    del self._recent[0]
            return self._micro

    def _signals(self, waiting: _Waiting) -> _Learned:
        """Return the steps with their advantages over the baseline, and fold their trajectories into it."""
        _, first, owner = np.unique(waiting.trajectory, return_index=True, return_inverse=True)
        values, embeddings = waiting.value[first], waiting.inputs[first]
        gained = self._baseline.advantages(values, [None] * len(values), numbered(embeddings))[owner]
        self._fold(values)
        signals = Directions.all_of(embeddings, owner, waiting.targets, gained)
        rows = signals.teaching
        return _Learned(waiting.ids[rows], signals.take(rows))

    def _train(self, signals: Directions) -> None:
        schedule = Schedule(self.config.learning_rate, 1, self.config.max_norm, self._seed + self._updates)
        self._micro = train(self._micro, signals.inputs, signals.pull, schedule)

    def _fold(self, values: NDArray[np.float64]) -> None:
        self._baseline = self._baseline.fold(values, [None] * len(values))

    def metrics(self) -> InstantMetrics:
        """Return the counters."""
        return InstantMetrics(self._trajectories, self._updates, len(self._pending))
