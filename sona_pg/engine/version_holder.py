"""The served version of an engine: replaced as a whole, adapted by loop A in between, kept for the next opening."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.space import Space
from sona_pg.domain.state import LoraWeights
from sona_pg.errors import DatabaseUnavailable, DimensionMismatch, StorageError
from sona_pg.ingest.wakeups import held_here
from sona_pg.learning.adapters.adapter_file import read_adapters
from sona_pg.recorder import Adapter, EncodedBatch, HotPath
from sona_pg.serving.access_counter import AccessCounter
from sona_pg.serving.instant import InstantLoop
from sona_pg.serving.last_version import LastVersion
from sona_pg.serving.last_version import load as load_version
from sona_pg.serving.served_version import ServedVersion
from sona_pg.store.snapshots import Snapshot

log = logging.getLogger(__name__)

REFUSED_FOR = 60.0  # seconds between attempts at a version that could not be served

ReadLive = Callable[[int | None], ServedVersion]  # reads the live version; None: any number
# Returns those trajectories among ids (n, 16) that a version has learned from.
Learned = Callable[[NDArray[np.uint8], int], Collection[bytes]]


class Refused(NamedTuple):
    """A version that this server failed to serve."""

    version: int
    reason: Exception
    at: float  # monotonic seconds


class VersionHolder:
    """Holds the served version of one space, and gives its adapters to the recorder."""

    def __init__(self, hot: HotPath, config: SonaConfig, last: LastVersion) -> None:
        """Serve version 0; ``last`` is the file of the version served last on this machine."""
        self._hot = hot
        self._config = config
        self._last = last
        self._adapting = threading.RLock()  # serialises new versions and loop A: the later one must win
        nothing = self._nothing_learned()
        self.instant = InstantLoop(nothing.state.micro, config.micro, config.loops.seed)
        self.refused: Refused | None = None
        self.accesses = AccessCounter()
        self.serve(nothing)

    @property
    def held_here(self) -> bool:
        """Whether this thread, interrupted by a signal handler, is swapping adapters."""
        return held_here(self._adapting)

    def learn_with(self, config: SonaConfig) -> None:
        """Serve the next version, and run loop A, by the settings of ``config``."""
        self._config = config
        self.instant.learn_with(config.micro)

    def serve(
        self, serving: ServedVersion, adapters: str | None = None, learned: Collection[bytes] | None = None
    ) -> None:
        """Serve a version from now on.

        Args:
            serving: the version.
            adapters: source of its adapters, if not the version.
            learned: trajectories of the loop's ``recent_ids`` that it has learned from; loop A learns the others again.
                None: all of them.
        """
        with self._adapting:
            self.adapters = adapters or f"version {serving.version}"
            micro = self.instant.adopt(serving.state.micro, learned)
            self.accesses.follow(serving.patterns, serving.block)
            self.serving = dataclasses.replace(serving, accesses=self.accesses)
            self._base = tuple(_adapter(layer) for layer in serving.state.base)
            self._hot.set_adapters(_adapter(micro), self._base)

    def serve_first(self, read: ReadLive, live_version: Callable[[], int]) -> None:
        """Serve the live version at the opening; version 0 if it cannot be served."""
        try:
            self.serve(read(None))
        except DatabaseUnavailable:
            raise
        except Exception as exc:  # an engine without a version still records
            live = live_version()
            self.refused = Refused(live, exc, time.monotonic())
            log.exception("version %d cannot be served: nothing that was learned is, until a later version", live)
            self.serve(self._nothing_learned())

    def serve_nothing(self, age: float) -> None:
        """Serve version 0 of a space that was made ``age`` seconds ago."""
        self.serve(dataclasses.replace(self._nothing_learned(), published_at=time.monotonic() - age))

    def serve_kept(self) -> Snapshot | None:
        """Serve the version served last on this machine, and return it; None if there is none."""
        kept = load_version(self._last.path, self._hot.dim)
        if kept is None:
            return None
        self.serve(ServedVersion.of(kept[1], self._hot.dim, self._config))
        return kept[1]

    def take_up(self, live: int, read: ReadLive, learned: Learned) -> bool:
        """Serve the live version, and return True; if it cannot be served, log once and keep the previous one."""
        if live == self.serving.version or self._is_refused(live):
            return False
        try:
            serving = read(live)
            known = learned(self.instant.recent_ids, serving.version)
        except DatabaseUnavailable:
            raise
        except Exception as exc:  # any fault in it must not stop this server
            self.refused = Refused(live, exc, time.monotonic())
            log.exception("version %d cannot be served: version %d stays", live, self.serving.version)
            return False
        self.refused = None
        self.serve(serving, learned=known)
        return True

    def keep(self, space: Space, retired: frozenset[str], *, now: bool = False) -> None:
        """Save the served version in the home folder, for an engine opened while the database is away."""
        self._last.keep(space, self.serving.version, self.serving.as_snapshot, retired, now=now)

    def is_to_be_kept(self, retired: frozenset[str]) -> bool:
        """Whether ``keep`` has something to write, now or in a while."""
        return self._last.lacks(self.serving.version, retired)

    def load_adapters(self, path: str | Path) -> None:
        """Serve the adapters of a file until a newer version is published."""
        micro, base = read_adapters(path)
        if micro is None or not base:
            raise StorageError(f"{path} lacks the micro or the base adapter: expected a file of SonaEngine.save")
        for weights in (micro, *base):
            if weights.dim != self._hot.dim:
                raise DimensionMismatch(self._hot.dim, weights.dim, "adapter")
        state = dataclasses.replace(self.serving.state, micro=micro, base=tuple(base))
        self.serve(dataclasses.replace(self.serving, state=state), str(path))
        log.info("serving the adapters of %s until a version after %d is published", path, self.serving.version)

    def learn_at_once(self, batch: EncodedBatch) -> None:
        """Run loop A on a batch, on the writer's thread."""
        steps = np.bincount(batch.step_trajectory, minlength=batch.trajectory_count)
        rewards = np.bincount(batch.step_trajectory, batch.step_rewards, batch.trajectory_count)
        self.instant.on_batch(
            batch.embeddings,
            batch.qualities,
            rewards / np.maximum(steps, 1),
            batch.step_trajectory[batch.activation_step],
            batch.step_activations,
            batch.trajectory_ids,
        )
        with self._adapting:
            before = self.instant.micro
            after = self.instant.flush_updates()
            if after is not before:
                self._hot.set_adapters(_adapter(after), self._base)

    def _is_refused(self, version: int) -> bool:
        """Whether a version could not be served a moment ago."""
        refused = self.refused
        return refused is not None and refused.version == version and time.monotonic() - refused.at < REFUSED_FOR

    def _nothing_learned(self) -> ServedVersion:
        nothing = Snapshot(0, None, [], Catalog.of([], np.zeros((0, self._hot.dim), np.float16)))
        return ServedVersion.of(nothing, self._hot.dim, self._config)


def _adapter(weights: LoraWeights) -> Adapter:
    return Adapter(weights.a, weights.b, weights.scale)
