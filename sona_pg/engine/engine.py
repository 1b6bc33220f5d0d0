"""SonaEngine: record, learn, ask. Opens a space of a store and serves its live version."""

from __future__ import annotations

import atexit
import dataclasses
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sona_pg._version import __version__
from sona_pg.config import Environment, SonaConfig
from sona_pg.domain.answer import Context, Decision, Ranking, Response, SearchResult
from sona_pg.domain.cycle import CycleResult, RebuildResult
from sona_pg.domain.ids import uuid7
from sona_pg.domain.pattern import LearnedPattern, PatternKind
from sona_pg.domain.state import LoraWeights
from sona_pg.engine.arguments import as_matrix, as_uuid, as_vector, require_search
from sona_pg.engine.builder import SonaEngineBuilder
from sona_pg.engine.follower import Follower
from sona_pg.engine.ranking import CandidateSet, Ranker
from sona_pg.engine.routing import RouteChooser
from sona_pg.engine.serving import Serving
from sona_pg.errors import ConfigError, DatabaseError, DimensionMismatch, StorageError
from sona_pg.ingest import Writer
from sona_pg.kernels import Adapter, EncodedBatch, HotPath, Trajectory
from sona_pg.loops.background import BackgroundLoop
from sona_pg.loops.coordinator import LoopCoordinator
from sona_pg.loops.instant import InstantLoop
from sona_pg.loops.maintainer import Maintainer
from sona_pg.loops.rebuild import rebuild
from sona_pg.store.database import Database
from sona_pg.store.notify import VersionListener
from sona_pg.text.embedder import Embedder, default_embedder

log = logging.getLogger(__name__)

LEARN_TIMEOUT = 60.0  # seconds that force_learn waits for what was recorded to be committed


class SonaEngine(HotPath):
    """A server's hold on one space: it records, learns, and serves the newest version it has heard of.

    ``begin_trajectory``, ``add_step``, ``set_trajectory_route``, ``add_trajectory_context``, ``end_trajectory``,
    ``apply_micro_lora``, ``apply_base_lora``, ``set_enabled`` and ``is_enabled`` come from the compiled hot path:
    none of them waits for the database. One engine serves all threads of a process; close it, or use ``with``.
    """

    def __init__(
        self,
        hidden_dim: int = 256,
        url: str | None = None,
        space: str = "default",
        *,
        config: SonaConfig | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        """Open ``space``, making it and the schema if they are not there.

        Args:
            hidden_dim: the embedding dimension of the space.
            url: the database; else ``SONA_PG_URL``, else the embedded Postgres in ``SONA_PG_HOME``.
            space: the learning domain.
            config: all other settings; its ``hidden_dim`` gives way to the argument.
            embedder: for ``process``; by default that of extra ``text``, loaded when first needed.

        Raises:
            ConfigError: a setting cannot work, or the space has another dimension.
            DatabaseError: Postgres does not answer or is not fit for use.
            StorageError: the embedded server's data folder cannot be used.
        """
        self.config = (config or SonaConfig()).replace(hidden_dim=hidden_dim)
        ingest = self.config.ingest
        super().__init__(hidden_dim, ingest.capacity, ingest.buffer_bytes)
        if embedder is not None and embedder.dim != hidden_dim:
            raise ConfigError(
                f"the embedder gives {embedder.dim} dimensions, the space has {hidden_dim}: "
                f"open it with hidden_dim={embedder.dim}"
            )
        self._embedder = embedder
        self._closed = False
        self._refreshing = threading.Lock()
        self._adapting = threading.Lock()  # between a new version and loop A: the later one must win
        environment = Environment.read()
        self._embedded = None
        address = url or environment.url
        if address is None:
            from sona_pg.store.embedded import start_embedded

            self._embedded = start_embedded(environment.home)
            address = self._embedded.url
        try:
            self._open(address, space, environment)
        except BaseException:
            if self._embedded is not None:
                self._embedded.release()
            raise

    def _open(self, address: str, space: str, environment: Environment) -> None:
        self._database = Database.open(address)
        try:
            now = datetime.now(UTC)
            self.server_id = uuid7()
            self._space = self._database.open_space(space, self.dim, now)
            self._database.register(self._space, self.server_id, socket.gethostname(), os.getpid(), __version__, now)
            self._serving = Serving.of(self._database.snapshot(self._space), self.dim, self.config)
            self._instant = InstantLoop(self._serving.state.micro, self.config.micro, self.config.loops.seed)
            self._serve(self._serving)
            self._chooser = RouteChooser(self.config.loops.seed)
            self._ranker = Ranker(self.dim, self._keep)
            background = BackgroundLoop(self._database, self._space, self.server_id, self.config)
            self._coordinator = LoopCoordinator(background, self._database, self._space, self.config)
            self._writer = Writer(
                self,
                self._database.engine,
                space_id=self._space.space_id,
                server_id=self.server_id,
                config=self.config.ingest,
                home=environment.home,
                on_batch=self._on_batch,
            )
        except BaseException:
            self._database.close()
            raise
        self._follower = Follower(
            VersionListener(address, self._space.space_id),
            self.config.loops.poll_interval,
            self.refresh,
            self.tick,
        )
        self._maintainer = Maintainer(self._database, self.config.maintenance)
        self._follower.start()
        self._maintainer.start()
        atexit.register(self.close)

    @classmethod
    def builder(cls) -> SonaEngineBuilder:
        """Return a builder: ``SonaEngine.builder().hidden_dim(256).config(SonaConfig.max_quality()).build()``."""
        return SonaEngineBuilder(cls)

    @classmethod
    def with_config(
        cls,
        config: SonaConfig,
        *,
        url: str | None = None,
        space: str = "default",
        embedder: Embedder | None = None,
    ) -> Self:
        """Open an engine with all settings from ``config``."""
        return cls(config.hidden_dim, url, space, config=config, embedder=embedder)

    # -- feedback and barriers ------------------------------------------------------------------------------

    def feedback(
        self,
        trajectory: UUID | str | Trajectory,
        quality: float | None = None,
        *,
        source: str = "user",
        correction: str | None = None,
        retract: bool = False,
        sequence: int | None = None,
    ) -> int:
        """Record a fact about a trajectory: how good it was, or what would have been right.

        It may come from any server, before its trajectory, weeks later, or again: of each source the latest
        counts, and the mean over sources replaces the quality told at the end.

        Args:
            trajectory: its id, or its handle.
            quality: in [0, 1].
            source: who says so, such as ``user`` or ``judge``.
            correction: the id of the candidate that would have been right.
            retract: take back what this source said.
            sequence: for callers that may send the same fact twice; by default the time.

        Returns:
            The fact's sequence number.
        """
        return self.record_feedback(
            as_uuid(trajectory), quality=quality, correction=correction, source=source, retract=retract,
            sequence=sequence,
        )  # fmt: skip

    def flush(self, timeout: float | None = None) -> None:
        """Return once everything recorded before is committed.

        Raises:
            DatabaseUnavailable: ``timeout`` seconds have passed; what waits goes on waiting.
        """
        self._writer.flush(timeout)

    # -- learning -------------------------------------------------------------------------------------------

    def force_learn(self) -> CycleResult:
        """Run loop B now, on everything recorded so far, however little; serve what it learned."""
        self.flush(LEARN_TIMEOUT)
        result = self._coordinator.force()
        self.refresh()
        return result

    def background_learn(self) -> CycleResult:
        """The same as ``force_learn``."""
        return self.force_learn()

    def tick(self) -> CycleResult | None:
        """Run loop B if it is due: the interval has passed and enough trajectories wait. The engine calls it itself."""
        result = self._coordinator.run_due()
        if result is not None:
            self.refresh()
        return result

    def refresh(self) -> int:
        """Take up the newest version if this server does not serve it yet; return the version served."""
        with self._refreshing:
            now = datetime.now(UTC)
            live = self._database.heartbeat(self._space, self.server_id, self._serving.version, now)
            if live != self._serving.version:
                serving = Serving.of(self._database.snapshot(self._space), self.dim, self.config)
                self._serve(serving)
                self._database.heartbeat(self._space, self.server_id, serving.version, datetime.now(UTC))
            return self._serving.version

    def rebuild(self, *, publish: bool = False) -> RebuildResult:
        """Learn this space again from its ledger, cycle by cycle, and say whether that gives the live state.

        With the same configuration and instruction set it does, to the bit. After trajectories have been deleted it
        does not, and ``publish=True`` makes the result live: then what they taught is unlearned. What retention has
        dropped from the ledger is unlearned with them. Other learners of the space wait meanwhile.
        """
        self.flush()
        result = rebuild(self._database, self._space, self.config, publish=publish)
        self.refresh()
        return result

    def save(self, path: str | Path) -> None:
        """Write the adapters this server serves to a safetensors file: the micro adapter and every base layer.

        It is a copy to take elsewhere; the store itself keeps every version.

        Raises:
            StorageError: the file cannot be written.
        """
        from sona_pg.learning.lora import write_adapters

        write_adapters(path, self._instant.micro, self._serving.state.base)

    def load(self, path: str | Path) -> None:
        """Serve the adapters of a file that ``save`` wrote, on this server only, until a newer version is published.

        Nothing is written to the store: other servers do not change, and learning goes on from the live version.
        ``metrics()["adapters"]`` says what is served.

        Raises:
            StorageError: the file cannot be read, or lacks an adapter.
            DimensionMismatch: its adapters are for another dimension.
        """
        from sona_pg.learning.lora import read_adapters

        micro, base = read_adapters(path)
        if micro is None or not base:
            raise StorageError(f"{path} lacks the micro or the base adapter: expected what SonaEngine.save wrote")
        for weights in (micro, *base):
            if weights.dim != self.dim:
                raise DimensionMismatch(self.dim, weights.dim, "adapter")
        with self._refreshing:
            state = dataclasses.replace(self._serving.state, micro=micro, base=tuple(base))
            self._serve(dataclasses.replace(self._serving, state=state), str(path))
        log.info("serving the adapters of %s until a version after %d is published", path, self._serving.version)

    # -- asking ---------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """The state version this server serves; 0 before anything was learned."""
        return self._serving.version

    def find_patterns(
        self,
        x: ArrayLike,
        k: int = 5,
        *,
        min_quality: float = 0.0,
        kind: PatternKind | None = None,
        route: str | None = None,
    ) -> list[LearnedPattern]:
        """Return the ``k`` patterns nearest to ``x`` (dim,), nearest first; from memory, in microseconds.

        Args:
            x: what is asked.
            k: how many at most.
            min_quality: leave out patterns whose mean quality is lower.
            kind: only patterns of this kind.
            route: only patterns in which this route was tried.
        """
        return self._serving.find(as_vector(x, self.dim), k, min_quality=min_quality, kind=kind, route=route)

    def search(
        self,
        x: ArrayLike,
        k: int = 10,
        *,
        route: str | None = None,
        min_quality: float | None = None,
        since: datetime | None = None,
        exact: bool = False,
    ) -> SearchResult:
        """Return the ``k`` stored trajectories nearest to ``x`` (dim,), nearest first; asks the database.

        Weeks that are over are searched by their index where the space has many trajectories in them, all else is
        scanned. The result's ``complete`` is False if an index gave up before it had found ``k``.

        Args:
            x: what is searched.
            k: how many at most.
            route: only those that took this route.
            min_quality: only those whose quality, with all feedback, is at least this.
            since: only those that began then or later.
            exact: scan everything.

        Raises:
            InvalidValue: ``x`` has length 0, or another argument makes no sense.
            DatabaseUnavailable: Postgres does not answer now.
        """
        vector = as_vector(x, self.dim)
        require_search(vector, k, min_quality, since)
        return self._database.search(
            self._space, vector, k, route=route, min_quality=min_quality, since=since, exact=exact
        )

    def rank(
        self,
        query: ArrayLike,
        candidates: ArrayLike | None = None,
        *,
        ids: Sequence[str] | None = None,
        k: int = 10,
        exploration: float = 0.0,
    ) -> Ranking:
        """Return the ``k`` candidates that ``query`` (dim,) most likely means, best first.

        Hand the ranking to ``begin_trajectory``, say with ``set_trajectory_route`` which one was shown, and how it
        went with ``end_trajectory`` or ``feedback``: that is what the next version learns from.

        Args:
            query: what is asked.
            candidates: (m, dim) embeddings of what can be answered; the store keeps them by id. Without them
                the candidates are taken from the store.
            ids: (m,) one text each; the same id is the same candidate for ever.
            k: how many at most.
            exploration: above 0, candidates that few have confirmed are shown more often (1 is a good value
                while learning); the scores stay the ranker's own.
        """
        return self._ranker.rank(self._serving, as_vector(query, self.dim), candidates, ids, k, exploration)

    def rank_many(
        self,
        queries: ArrayLike,
        candidates: ArrayLike | None = None,
        *,
        ids: Sequence[str] | None = None,
        k: int = 10,
        exploration: float = 0.0,
    ) -> list[Ranking]:
        """Return what ``rank`` returns for each of ``queries`` (n, dim), all by one version; a batch is far cheaper."""
        rows = as_matrix(queries, self.dim, "queries")
        return self._ranker.rank_many(self._serving, rows, candidates, ids, k, exploration)

    def remember(self, ids: Sequence[str], embeddings: ArrayLike) -> None:
        """Store candidates ahead of their first ranking; one whose id is known gets the new embedding."""
        rows = as_matrix(embeddings, self.dim, "embeddings")
        if len(rows) != len(ids):
            raise ConfigError(f"{len(rows)} embeddings with {len(ids)} ids: expected one id each")
        self._writer.enqueue_candidates(list(ids), rows)

    def route(
        self,
        x: ArrayLike,
        candidates: Sequence[str],
        *,
        features: ArrayLike | None = None,
        costs: Mapping[str, float] | None = None,
        budget: float | None = None,
        cost_weight: float = 0.0,
        latency_weight: float = 0.0,
    ) -> Decision:
        """Choose one of ``candidates`` for ``x`` (dim,); hand the decision to ``begin_trajectory``.

        Args:
            x: what is asked.
            candidates: the routes that may be taken.
            features: (f,) cheap numbers that say more of the query than its embedding does, such as its length;
                the same ones in every call of the space. They are stored with the decision.
            costs: what each costs; needed for a budget.
            budget: the mean cost that may be spent per decision.
            cost_weight, latency_weight: what a unit of cost, and of latency in seconds, takes off the quality.
        """
        serving = self._serving
        told = None if features is None else as_vector(features, np.size(features), "features")
        return self._chooser.choose(
            serving.router, serving.version, as_vector(x, self.dim), candidates,
            features=told, costs=costs, budget=budget, cost_weight=cost_weight, latency_weight=latency_weight,
        )  # fmt: skip

    def process(self, query: str, context: Context | Sequence[str] = ()) -> Response:
        """Embed ``query``, record it as a trajectory, and say what is known of its like.

        Args:
            query: the text that is asked.
            context: labels that are stored with the trajectory.
        """
        embedding = self.embed([query])[0]
        serving = self._serving
        handle = self.begin_trajectory(embedding, query=query)
        labels = context.labels if isinstance(context, Context) else tuple(context)
        for label in labels:
            self.add_trajectory_context(handle, label)
        patterns = serving.find(embedding, 3)
        best = max(patterns[0].routes.items(), key=lambda item: (item[1].quality, item[1].size), default=None) \
            if patterns else None  # fmt: skip
        if best is not None:
            self.set_trajectory_route(handle, best[0])
        self.end_trajectory(handle)
        return Response(
            trajectory_id=handle.id,
            query=query,
            embedding=embedding,
            adapted=self.apply_micro_lora(embedding),
            patterns=patterns,
            route=None if best is None else best[0],
            quality=None if best is None else best[1].quality,
            version=serving.version,
        )

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of ``texts``, (n, dim) float32, by the engine's embedder.

        Raises:
            ConfigError: there is no embedder of the space's dimension.
        """
        if self._embedder is None:
            chosen = default_embedder()
            if chosen.dim != self.dim:
                raise ConfigError(
                    f"the default embedder gives {chosen.dim} dimensions, the space has {self.dim}: "
                    f"pass embedder=, or open a space of dimension {chosen.dim}"
                )
            self._embedder = chosen
        return self._embedder.embed(texts)

    def get_stats(self) -> str:
        """Return what is known of the space and this server, as JSON; counters survive restarts.

        With the database away it tells what this server knows, and says so in ``database``.
        """
        return json.dumps(self.metrics(), indent=2, default=str)

    def metrics(self) -> dict[str, Any]:
        """Return what ``get_stats`` prints, as a dictionary."""
        serving = self._serving
        instant = self._instant.metrics()
        stats: dict[str, Any] = {
            "space": self._space.name,
            "dim": self.dim,
            "version": serving.version,
            "version_age_seconds": round(time.monotonic() - serving.loaded_at, 3),
            "patterns": len(serving.patterns),
            "micro_norm": round(serving.state.micro.norm, 6),
            "adapters": self._adapters,
            "base_norm": round(max(layer.norm for layer in serving.state.base), 6),
            "routes": {name: known.size for name, known in serving.state.routes.items()},
            "server": {
                "id": str(self.server_id),
                "recorded": self.recorded_count,
                "dropped": self.dropped_count,
                "waiting": self.waiting,
                "instant_updates": instant.updates,
                "writer": dataclasses.asdict(self._writer.stats()),
            },
        }
        try:
            stats["totals"] = self._database.totals(self._space)
            stats["database"] = "answers"
        except DatabaseError as exc:
            stats["database"] = str(exc)
        return stats

    # -- the end --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Write what is waiting, stop the threads, and let go of the database. Closing twice is the same as once."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._follower.stop()
        self._maintainer.stop()
        try:
            self._writer.close()
        finally:
            self._database.close()
            if self._embedded is not None:
                self._embedded.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self, serving: Serving, adapters: str | None = None) -> None:
        with self._adapting:
            self._adapters = adapters or f"version {serving.version}"
            self._instant.adopt(serving.state.micro)
            self._serving = serving
            self._base = tuple(_adapter(layer) for layer in serving.state.base)
            self.set_adapters(_adapter(serving.state.micro), self._base)

    def _keep(self, candidates: CandidateSet) -> None:
        self._writer.enqueue_candidates(list(candidates.ids), candidates.embeddings)
        self._writer.enqueue_candidate_set(candidates.set_id, list(candidates.ids))

    def _on_batch(self, batch: EncodedBatch) -> None:
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
                self.set_adapters(_adapter(after), self._base)


def _adapter(weights: LoraWeights) -> Adapter:
    return Adapter(weights.a, weights.b, weights.scale)
