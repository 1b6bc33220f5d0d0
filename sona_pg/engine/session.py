"""A server's hold on one space: what is open while an engine is, and how it follows the live version."""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sona_pg._version import __version__
from sona_pg.config import Environment, Migrate, SonaConfig
from sona_pg.domain.cycle import CycleResult, RebuildResult
from sona_pg.domain.evaluation import PolicyEvaluation
from sona_pg.domain.ids import uuid7
from sona_pg.domain.state import LoraWeights
from sona_pg.engine.follower import Follower
from sona_pg.engine.ranking import Ranker
from sona_pg.engine.routing import RouteChooser
from sona_pg.engine.serving import Serving, snapshot_of
from sona_pg.errors import (
    DatabaseError,
    DatabaseUnavailable,
    DimensionMismatch,
    SonaError,
    StorageError,
    TrajectoryError,
)
from sona_pg.ingest import Writer
from sona_pg.kernels import Adapter, EncodedBatch, HotPath
from sona_pg.learning.lora import read_adapters, write_adapters
from sona_pg.loops.background import BackgroundLoop
from sona_pg.loops.coordinator import LoopCoordinator
from sona_pg.loops.evaluation import evaluate
from sona_pg.loops.instant import InstantLoop
from sona_pg.loops.maintainer import Maintainer
from sona_pg.loops.rebuild import rebuild
from sona_pg.store.database import Database
from sona_pg.store.embedded import EmbeddedServer, start_embedded
from sona_pg.store.notify import VersionListener

log = logging.getLogger(__name__)

WAITING_FOR = 60.0  # seconds for which the count of feedback without its trajectory is good
LEARN_TIMEOUT = 60.0  # seconds that learning waits for what was recorded to be committed


class Session:
    """Opens a space and keeps it current: writer, follower, maintainer, and the version that is served."""

    def __init__(
        self, hot: HotPath, config: SonaConfig, url: str | None, space: str, migrate: Migrate | None = None
    ) -> None:
        """Open ``space`` for the recorder ``hot``; see ``SonaEngine`` for what may be raised."""
        self._hot = hot
        self._config = config
        self._closed = False
        self._pid = os.getpid()
        self._refreshing = threading.Lock()
        self._waiting: tuple[float, dict[str, Any] | None] = (0.0, None)
        self._adapting = threading.Lock()  # between a new version and loop A: the later one must win
        environment = Environment.read()
        self._embedded: EmbeddedServer | None = None
        self._home = environment.home
        address = url or environment.url
        self._migrate = migrate or environment.migrate
        if address is None:
            self._migrate = "auto"  # nobody else could
            self._embedded = start_embedded(environment.home)
            address = self._embedded.url
        try:
            self._open(address, space)
        except BaseException:
            if self._embedded is not None:
                self._embedded.release()
            raise

    def _open(self, address: str, space: str) -> None:
        self.url = address
        self.database = Database.open(address, self._migrate)
        try:
            now = datetime.now(UTC)
            self.server_id = uuid7()
            self.space = self.database.open_space(space, self._hot.dim, now)
            self._register()
            self.chooser = RouteChooser(self._config.loops.seed, self._keep_set)
            self.ranker = Ranker(self._hot.dim, self._keep, self._keep_set)
            self._background = BackgroundLoop(self.database, self.space, self.server_id, self._config)
            self.serving = self._read(None)
            self._instant = InstantLoop(self.serving.state.micro, self._config.micro, self._config.loops.seed)
            self._serve(self.serving)
            self._coordinator = LoopCoordinator(self._background, self.database, self.space, self._config)
            self.writer = Writer(
                self._hot,
                self.database.engine,
                space_id=self.space.space_id,
                server_id=self.server_id,
                config=self._config.ingest,
                home=self._home,
                on_batch=self._on_batch,
            )
            self._hot.name_sets(self.ranker.shown)
        except BaseException:
            self.database.close()
            raise
        listener = VersionListener(address, self.space.space_id)
        self._follower = Follower(listener, self._config.loops.poll_interval, self.refresh, self.tick, self._revive)
        self._maintainer = Maintainer(self.database, self._config.maintenance)
        self._follower.start()
        self._maintainer.start()

    def require_open(self) -> None:
        """Raise ``TrajectoryError`` once the engine is closed, ``DatabaseUnavailable`` in a forked child.

        A child has copies of its parent's connections: what it read from them would be its parent's answers.
        """
        if os.getpid() != self._pid:
            raise DatabaseUnavailable("the engine was opened before this process was forked: open one here")
        if self._closed:
            raise TrajectoryError("the engine is closed: open another one")

    def flush(self, timeout: float | None) -> None:
        """Return once everything recorded before is committed."""
        self.require_open()
        self.writer.flush(timeout)

    def learn(self) -> CycleResult:
        """Commit what was recorded, run loop B on it, and serve the result."""
        self.flush(LEARN_TIMEOUT)
        result = self._coordinator.force()
        self.refresh()
        return result

    def tick(self) -> CycleResult | None:
        """Run loop B if it is due, and serve the result."""
        self.require_open()
        result = self._coordinator.run_due()
        if result is not None:
            self.refresh()
        return result

    def refresh(self) -> int:
        """Serve the live version, if it is another one; say that this server is alive; return what it serves."""
        self.require_open()
        with self._refreshing:
            live = self._heartbeat()
            if live != self.serving.version:
                self._serve(self._read(live))
                self._heartbeat()
            return self.serving.version

    def rebuild(self, publish: bool) -> RebuildResult:
        """Learn the space again from its ledger; see ``SonaEngine.rebuild``."""
        self.flush(LEARN_TIMEOUT)
        result = rebuild(self.database, self.space, self._config, publish=publish)
        self.refresh()
        return result

    def evaluate(self, **wanted: Any) -> PolicyEvaluation:
        """Judge policies on the logged decisions; see ``SonaEngine.evaluate_policies``."""
        self.require_open()
        return evaluate(self.database, self.space, self._config, live_version=self.refresh(), **wanted)

    def save_adapters(self, path: str | Path) -> None:
        """Write the adapters that are served to a file."""
        write_adapters(path, self._instant.micro, self.serving.state.base)

    def load_adapters(self, path: str | Path) -> None:
        """Serve the adapters of a file until a newer version is published."""
        micro, base = read_adapters(path)
        if micro is None or not base:
            raise StorageError(f"{path} lacks the micro or the base adapter: expected what SonaEngine.save wrote")
        for weights in (micro, *base):
            if weights.dim != self._hot.dim:
                raise DimensionMismatch(self._hot.dim, weights.dim, "adapter")
        with self._refreshing:
            state = dataclasses.replace(self.serving.state, micro=micro, base=tuple(base))
            self._serve(dataclasses.replace(self.serving, state=state), str(path))
        log.info("serving the adapters of %s until a version after %d is published", path, self.serving.version)

    def metrics(self) -> dict[str, Any]:
        """Return what is known of the space and this server, as JSON-ready values."""
        serving = self.serving
        stats: dict[str, Any] = {
            "space": self.space.name,
            "dim": self._hot.dim,
            "version": serving.version,
            "version_age_seconds": round(time.monotonic() - serving.loaded_at, 3),
            "patterns": len(serving.patterns),
            "micro_norm": round(serving.state.micro.norm, 6),
            "adapters": self._adapters,
            "base_norm": round(max(layer.norm for layer in serving.state.base), 6),
            "routes": {name: known.size for name, known in serving.state.routes.items()},
            "server": {
                "id": str(self.server_id),
                "recorded": self._hot.recorded_count,
                "dropped": self._hot.dropped_count,
                "waiting": self._hot.waiting,
                "instant_updates": self._instant.metrics().updates,
                "failed_cycles": self._follower.failures,
                "writer": dataclasses.asdict(self.writer.stats()),
            },
        }
        try:
            stats["totals"] = self.database.totals(self.space)
            stats["waiting_feedback"] = self._waiting_feedback()
            stats["database"] = "answers"
        except DatabaseError as exc:
            stats["database"] = str(exc)
        return stats

    def close(self) -> None:
        """Write what is waiting, stop the threads, and let go of the database; twice is the same as once."""
        if self._closed:
            return
        if os.getpid() != self._pid:  # a forked child: connections, threads and server are its parent's
            self.database.engine.dispose(close=False)
            self._closed = True
            return
        self._follower.stop()
        self._closed = True
        self._maintainer.stop()
        try:
            self.writer.close()
            self._depart()
        finally:
            self.database.close()
            if self._embedded is not None:
                self._embedded.release()

    def _register(self) -> None:
        now = datetime.now(UTC)
        self.database.register(self.space, self.server_id, socket.gethostname(), os.getpid(), __version__, now)

    def _heartbeat(self) -> int:
        """Say that this server is there; return the live version."""
        now = datetime.now(UTC)
        live, registered = self.database.heartbeat(self.space, self.server_id, self.serving.version, now)
        if not registered:  # maintenance has forgotten it: its machine slept for days
            self._register()
        return live

    def _depart(self) -> None:
        """Leave the fleet, unless the database is away: nobody waits for it to come back at the end."""
        if time.monotonic() - self._follower.last_contact > self._config.loops.poll_interval + 1.0:
            return
        try:
            self.database.depart(self.space, self.server_id, datetime.now(UTC))
        except DatabaseError as exc:
            log.debug("the server could not sign off, and will count as gone: %s", exc)

    def _waiting_feedback(self) -> dict[str, Any]:
        """Return what is known of feedback without its trajectory, at most a minute old: it takes a scan."""
        asked, known = self._waiting
        if known is None or time.monotonic() - asked > WAITING_FOR:
            known = self.database.waiting_feedback(self.space)
            self._waiting = (time.monotonic(), known)
        return known

    def _revive(self) -> None:
        """Start the embedded server again if it is ours and gone; joining one that runs takes milliseconds."""
        if self._embedded is None:
            return
        try:
            self._embedded, gone = start_embedded(self._home), self._embedded
        except SonaError as exc:
            log.warning("the embedded Postgres cannot be started again: %s", exc)
        else:
            gone.release()

    def _read(self, live: int | None) -> Serving:
        """Return the live version: from the learner's memory if it was made here, else from the store."""
        memory = self._background.memory
        if memory is None or memory.version != live or memory.cycle_id != self.database.cycle_of(self.space, live):
            # Nothing was made here, or it was not committed, and another server has made a version of that number.
            return Serving.of(self.database.snapshot(self.space), self._hot.dim, self._config)
        return Serving.of(snapshot_of(memory), self._hot.dim, self._config)

    def _serve(self, serving: Serving, adapters: str | None = None) -> None:
        with self._adapting:
            self._adapters = adapters or f"version {serving.version}"
            self._instant.adopt(serving.state.micro)
            self.serving = serving
            self._base = tuple(_adapter(layer) for layer in serving.state.base)
            self._hot.set_adapters(_adapter(serving.state.micro), self._base)

    def _keep(self, ids: Sequence[str], embeddings: NDArray[np.float32], *, wait: bool = False) -> bool:
        return self.writer.enqueue_candidates(ids, embeddings, wait=wait)

    def _keep_set(self, set_id: int, ids: Sequence[str]) -> bool:
        return self.writer.enqueue_candidate_set(set_id, ids)

    def _on_batch(self, batch: EncodedBatch) -> None:
        """Loop A, on the writer's thread."""
        steps = np.bincount(batch.step_trajectory, minlength=batch.trajectory_count)
        rewards = np.bincount(batch.step_trajectory, batch.step_rewards, batch.trajectory_count)
        self._instant.on_batch(
            batch.embeddings,
            batch.qualities,
            rewards / np.maximum(steps, 1),
            batch.step_trajectory[batch.activation_step],
            batch.step_activations,
        )
        with self._adapting:
            before = self._instant.micro
            after = self._instant.flush_updates()
            if after is not before:
                self._hot.set_adapters(_adapter(after), self._base)


def _adapter(weights: LoraWeights) -> Adapter:
    return Adapter(weights.a, weights.b, weights.scale)
