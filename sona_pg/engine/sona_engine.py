"""SonaEngine: record, learn, ask. Opens a space of a store and serves its live version."""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sona_pg.config import Migrate, SonaConfig, migrate_policy
from sona_pg.domain.answer import Context, Decision, Interpolation, Ranking, Response, SearchResult
from sona_pg.domain.cycle import CycleResult, RebuildResult
from sona_pg.domain.pattern import LearnedPattern, PatternKind
from sona_pg.domain.policy_estimate import PolicyEvaluation
from sona_pg.domain.verdict import Verdict
from sona_pg.engine.engine_builder import SonaEngineBuilder
from sona_pg.engine.session import OpenRequest, Session
from sona_pg.errors import ConfigError, DatabaseError, DatabaseUnavailable, InvalidValue, SonaError, TrajectoryError
from sona_pg.learning.patterns.parameters import interpolate
from sona_pg.recorder import HotPath, Trajectory
from sona_pg.serving.arguments import (
    as_direction,
    as_directions,
    as_labels,
    as_uuid,
    as_vector,
    require_count,
    require_filters,
    require_search,
    require_text,
)
from sona_pg.text.embedder import Embedder, default_embedder
from sona_pg.text.features import query_features

log = logging.getLogger(__name__)

REOPEN_PAUSE = 1.0  # seconds after an attempt in a forked child that failed: others then fail at once


class SonaEngine(HotPath):
    """A server's hold on one space: it records, learns, and serves the newest version it has heard of.

    ``begin_trajectory``, ``add_step``, ``set_trajectory_route``, ``add_trajectory_context``,
    ``set_trajectory_parameters``, ``end_trajectory``, ``apply_micro_lora``, ``apply_base_lora``, ``set_enabled`` and
    ``is_enabled`` come from the compiled hot path: none of them waits for the database. One engine serves all threads
    of a process; close it, or use ``with``.

    **Forked processes** (gunicorn ``--preload``, Celery's prefork, ``multiprocessing``): a child's first use of the
    engine that its parent opened opens one of the child's own, under the same arguments, with its own buffer,
    connections and threads. That call takes as long as opening does: ``refresh`` in the server's post-fork hook is a
    good first use. What the parent has recorded is the parent's to write, and a trajectory is ended where it was begun.
    """

    def __init__(
        self,
        hidden_dim: int = 256,
        url: str | None = None,
        space: str = "default",
        *,
        config: SonaConfig | None = None,
        embedder: Embedder | None = None,
        create: bool = True,
        migrate: Migrate | None = None,
        require_database: bool = False,
    ) -> None:
        """Open ``space``, making it and the schema if they are not there.

        Args:
            hidden_dim: the embedding dimension of the space.
            url: the database; else ``SONA_PG_URL``, else the embedded Postgres in ``SONA_PG_HOME``.
            space: the learning domain.
            config: all other settings; its ``hidden_dim`` gives way to the argument.
            embedder: for ``process``; by default that of extra ``text``, loaded when first needed.
            create: whether to make the space if there is none of that name.
            migrate: ``"auto"`` upgrades an older schema, ``"check"`` refuses it with what to run; else
                ``SONA_PG_MIGRATE``, else ``"auto"``. The embedded server's is always upgraded.
            require_database: raise ``DatabaseUnavailable`` if the database does not answer now. Otherwise the engine
                opens without it and says so in the log: it records (durability ``sync`` refuses), serves the last
                version that this machine knew, and catches up once the database answers.

        Raises:
            ConfigError: a setting cannot work, or the space has another dimension.
            SchemaError: the schema is newer than this release, or older and ``migrate`` says ``"check"``.
            DatabaseError: Postgres does not answer or is not fit for use; or with ``create=False``, there is no such
                space.
            StorageError: the embedded server's data folder cannot be used.
        """
        if config is not None and not isinstance(config, SonaConfig):
            raise ConfigError(f"config={config!r} cannot work: expected a SonaConfig")
        self.config = (config or SonaConfig()).replace(hidden_dim=hidden_dim)
        ingest = self.config.ingest
        super().__init__(hidden_dim, ingest.capacity, ingest.buffer_bytes)
        if embedder is not None and embedder.dim != hidden_dim:
            raise ConfigError(
                f"the embedder gives {embedder.dim} dimensions, the space has {hidden_dim}: "
                f"open it with hidden_dim={embedder.dim}"
            )
        self._embedder = embedder
        if migrate is not None:
            migrate = migrate_policy(migrate, "migrate")
        self._wanted = OpenRequest(url, space, create, migrate, require_database)
        self._opening = threading.RLock()
        self._ended = self._in_opening = False
        self._failed: tuple[float, SonaError] | None = None  # when opening in a forked child did, and how
        self._inherited: list[Session] = []
        self._opened: Session | None = Session(self, self.config, self._wanted)
        self.renewed_by(self._renew)
        _engines.add(self)
        self._close_at_exit()

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
        create: bool = True,
    ) -> Self:
        """Open an engine with all settings from ``config``."""
        if not isinstance(config, SonaConfig):
            raise ConfigError(f"config={config!r} cannot work: expected a SonaConfig")
        return cls(config.hidden_dim, url, space, config=config, embedder=embedder, create=create)

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

    def flush(self, timeout: float | None = 60.0) -> None:
        """Return once everything recorded before is committed; None waits for as long as it takes.

        Raises:
            DatabaseUnavailable: ``timeout`` seconds have passed; what waits goes on waiting.
        """
        self._session.flush(timeout)

    # -- learning -------------------------------------------------------------------------------------------

    def force_learn(self) -> CycleResult:
        """Run loop B now, on everything recorded so far, however little; serve what it learned."""
        return self._session.learn()

    def background_learn(self) -> CycleResult:
        """The same as ``force_learn``."""
        return self.force_learn()

    def tick(self) -> CycleResult | None:
        """Run loop B if it is due: a tenth of the history is new, or the interval has passed and enough waits.

        The engine calls it itself; ``LoopConfig`` has the figures.
        """
        return self._session.tick()

    def refresh(self) -> int:
        """Take up the newest version if this server does not serve it yet; return the version served."""
        return self._session.refresh()

    def rebuild(self, *, publish: bool = False) -> RebuildResult:
        """Learn this space again from its ledger, cycle by cycle, and say whether that gives the live state.

        With the same configuration and instruction set it does, to the bit. After trajectories have been deleted it
        does not, and ``publish=True`` makes the result live: then what they taught is unlearned. What retention has
        dropped from the ledger is unlearned with them. Other learners of the space wait meanwhile.
        """
        return self._session.rebuild(publish)

    def save(self, path: str | Path) -> None:
        """Write the adapters this server serves to a safetensors file: the micro adapter and every base layer.

        It is a copy to take elsewhere; the store itself keeps every version.

        Raises:
            StorageError: the file cannot be written.
        """
        self._session.save_adapters(path)

    def load(self, path: str | Path) -> None:
        """Serve the adapters of a file that ``save`` wrote, on this server only, until a newer version is published.

        Nothing is written to the store: other servers do not change, and learning goes on from the live version.
        ``metrics()["adapters"]`` says what is served.

        Raises:
            StorageError: the file cannot be read, or lacks an adapter.
            DimensionMismatch: its adapters are for another dimension.
        """
        self._session.load_adapters(path)

    # -- asking ---------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The database's URL, for psycopg or psql; the embedded server answers while an engine is open."""
        return self._session.url

    @property
    def server_id(self) -> UUID:
        """This server's id in ``sona.servers``; every engine has its own."""
        return self._session.server_id

    @property
    def version(self) -> int:
        """The state version this server serves; 0 before anything was learned."""
        return self._session.serving.version

    def find_patterns(
        self,
        x: ArrayLike,
        k: int = 5,
        *,
        min_quality: float = 0.0,
        kind: PatternKind | None = None,
        route: str | None = None,
        verdict: Verdict | None = None,
    ) -> list[LearnedPattern]:
        """Return the ``k`` patterns nearest to ``x`` (dim,), nearest first; from memory, in microseconds.

        Args:
            x: what is asked.
            k: how many at most.
            min_quality: leave out patterns whose mean quality is lower.
            kind: only patterns of this kind.
            route: only patterns in which this route was tried.
            verdict: only patterns most of whose trajectories went so.

        Raises:
            InvalidValue: a filter that no pattern can pass.
        """
        require_filters(min_quality, kind, verdict)
        return self._session.serving.find(
            as_direction(x, self.dim),
            require_count(k, 0),
            min_quality=min_quality,
            kind=kind,
            route=route,
            verdict=verdict,
        )

    def interpolate_parameters(
        self, x: ArrayLike, k: int = 5, *, min_quality: float = 0.0, route: str | None = None
    ) -> Interpolation:
        """Return the settings that went well in the ``k`` patterns nearest to ``x`` (dim,) that know any.

        They are what callers told with ``set_trajectory_parameters``, of trajectories that succeeded: means weighted
        by similarity, quality and evidence. Round what must be whole.

        Args:
            x: what is asked.
            k: how many patterns at most.
            min_quality: leave out patterns whose mean quality is lower.
            route: only patterns in which this route was tried.

        Raises:
            InvalidValue: ``x`` has length 0.
        """
        require_filters(min_quality, None, None)
        vector = as_direction(x, self.dim)
        serving = self._session.serving
        found = serving.find(vector, require_count(k, 0), min_quality=min_quality, route=route, with_parameters=True)
        return interpolate(found, serving.version)

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
        require_search(vector, k, route, min_quality, since)
        self._session.require_open()
        return self._session.database.search(
            self._session.space, vector, k, route=route, min_quality=min_quality, since=since, exact=exact
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
        vector = as_direction(query, self.dim, "query")
        return self._session.ranker.rank(
            self._session.serving, vector, candidates, ids, require_count(k), exploration
        )  # fmt: skip

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
        rows = as_directions(queries, self.dim, "queries")
        return self._session.ranker.rank_many(
            self._session.serving, rows, candidates, ids, require_count(k), exploration
        )  # fmt: skip

    def remember(self, ids: Sequence[str], embeddings: ArrayLike) -> None:
        """Store candidates ahead of their first ranking, so that ``rank`` needs only their ids.

        This server knows them at once, others about a second after they are committed. One whose id was known has its
        new embedding after the next cycle.

        Args:
            ids: (m,) one text each.
            embeddings: (m, dim).

        Raises:
            InvalidValue: the space would have more than a million candidates.
            DatabaseUnavailable: more candidates wait than the buffer may take, and Postgres takes none.
        """
        self._session.ranker.remember(ids, as_directions(embeddings, self.dim, "embeddings"))

    def route(
        self,
        x: ArrayLike,
        candidates: Sequence[str],
        *,
        query: str | None = None,
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
            query: the text of ``x``, if there is one: its length and its shares of digits and symbols say more of
                how hard it is than the embedding does. They are stored with the decision, the text is not.
            features: (f,) numbers of your own to use instead; the same ones in every call of the space.
            costs: what each costs; needed for a budget.
            budget: the mean cost that may be spent per decision.
            cost_weight, latency_weight: what a unit of cost, and of latency in seconds, takes off the quality.

        Raises:
            InvalidValue: even the cheapest routes cost more than the budget.
        """
        serving = self._session.serving
        if features is None and query is not None:
            features = query_features(query)
        told = None if features is None else as_vector(features, np.size(features), "features")
        return self._session.chooser.choose(
            serving.router, serving.version, as_direction(x, self.dim), candidates,
            features=told, costs=costs, budget=budget, cost_weight=cost_weight, latency_weight=latency_weight,
        )  # fmt: skip

    def evaluate_policies(
        self,
        *,
        days: float = 30.0,
        versions: Sequence[int] = (),
        budgets: Sequence[float] = (),
        costs: Mapping[str, float] | None = None,
        limit: int = 20_000,
    ) -> PolicyEvaluation:
        """Say what other policies would have earned on the logged decisions: always one route, the router, a budget.

        Off-policy evaluation by the doubly robust estimator (Dudik, Langford and Li 2011) with its 95 % interval,
        beside IPS and SNIPS; a policy that too little of what ran agrees with has no figure, and says why. The
        policies are the one that ran; every route alone; the router as it learns, always from earlier decisions;
        and the live version and those of ``versions``, each on the decisions it has not learned from. Routers are
        judged without their exploration. What was recorded last is seen after ``flush``.

        Args:
            days: how far to look back.
            versions: stored versions to judge beside the live one.
            budgets: mean costs per decision within which to judge the router and the versions as well.
            costs: of every route; by default the mean that was logged with it.
            limit: decisions read at most, the newest.

        Raises:
            LearningError: no decision of that time has a propensity and an outcome.
            ConfigError: a budget cannot be kept, or a cost is missing.
            DatabaseError: a version is not there any more.
        """
        if not 0 < days < 36_500 or limit < 1:
            raise ConfigError(f"days={days!r}, limit={limit!r}: expected positive numbers, days below 36500")
        since = datetime.now(UTC) - timedelta(days=days)
        return self._session.evaluate(since=since, versions=versions, budgets=budgets, costs=costs, limit=limit)

    def process(self, query: str, context: Context | Sequence[str] = ()) -> Response:
        """Embed ``query``, record it as a trajectory, and say what is known of its like.

        Args:
            query: the text that is asked.
            context: labels that are stored with the trajectory.

        Raises:
            InvalidValue: the query says nothing, its embedding is all 0, or the context is no list of texts.
        """
        labels = as_labels(context)
        embedding = self.embed([require_text(query, "query")])[0]
        serving = self._session.serving
        handle = self.begin_trajectory(embedding, query=query)
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
            InvalidValue: ``texts`` is one text rather than a list.
        """
        if isinstance(texts, str):
            raise InvalidValue(f"texts={texts[:40]!r} is one text: expected a list of texts")
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
        return self._session.metrics()

    # -- forked children ------------------------------------------------------------------------------------

    @property
    def _session(self) -> Session:
        return self._opened if self._opened is not None else self._open_in_child()

    def _leave_to_parent(self) -> None:
        """In a child, right after the fork: have nothing open, and no lock that a thread of the parent holds."""
        self._opening = threading.RLock()
        self._in_opening = False
        self._failed = None
        if self._opened is not None:
            self._inherited.append(self._opened)  # never to be collected: its connections are the parent's
        self._opened = None

    def _renew(self, must: bool) -> None:
        """Open the engine in a forked child; unless it must, an adapter is better than an error."""
        try:
            self._open_in_child()
        except DatabaseError as exc:
            if must:
                raise
            log.warning("the engine cannot be opened in this process yet; adapters are its parent's: %s", exc)

    def _open_in_child(self) -> Session:
        with self._opening:
            if self._opened is not None:  # another thread was faster
                return self._opened
            if self._ended:
                raise TrajectoryError("the engine is closed: open another one")
            if self._in_opening:
                raise DatabaseUnavailable("the engine is being opened in this process, and a signal handler used it")
            if self._failed is not None and time.monotonic() - self._failed[0] < REOPEN_PAUSE:
                problem = self._failed[1]
                raise DatabaseUnavailable(f"not opened in this forked process ({problem}); try again") from problem
            self._in_opening = True
            try:
                self.begin_again()
                session = Session(self, self.config, self._wanted_in_child())
            except SonaError as exc:
                self._failed = (time.monotonic(), exc)
                raise
            finally:
                self._in_opening = False
            self._opened = session
            self.opened_here()
            self._let_go_of_parents()
            self._close_at_exit()
        self._close_if_ended(session)
        return session

    def _wanted_in_child(self) -> OpenRequest:
        """Return what a child opens: it makes no space again that was removed after its parent had found it."""
        found = any(session.is_attached for session in self._inherited)
        return self._wanted._replace(create=self._wanted.create and not found)

    def _close_if_ended(self, session: Session) -> None:
        """Close what was being opened while a signal handler called ``close``."""
        if self._ended:
            session.close()

    def _let_go_of_parents(self) -> None:
        for session in self._inherited:
            session.let_go()

    # -- the end --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Write what was accepted, stop the threads, and let go of the database. Closing twice is the same as once.

        From now on recording raises ``TrajectoryError``. A record that another thread is just recording is either
        accepted, and then written, or it raises. A signal handler may call this at any moment; in the middle of another
        call of this engine it may return before the end, which then follows; the interpreter's exit waits for it.
        In a forked child it closes what the child has opened, never its parent's engine.

        Raises:
            DatabaseUnavailable: what was accepted could not be written; the message says what becomes of it.
        """
        self._ended = True
        if self._opened is not None:
            self._opened.close()
        else:
            self.refuse_records()
            self._let_go_of_parents()
        atexit.unregister(self.close)

    def _close_at_exit(self) -> None:
        """Close when the process ends; children of multiprocessing end without ``atexit``."""
        atexit.unregister(self.close)
        atexit.register(self.close)
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            from multiprocessing.util import Finalize

            Finalize(self, SonaEngine._close_weakly, args=(weakref.ref(self),), exitpriority=0)

    @staticmethod
    def _close_weakly(engine: weakref.ref[SonaEngine]) -> None:
        opened = engine()
        if opened is not None:
            opened.close()

    def __enter__(self) -> Self:
        self._session.require_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_engines: weakref.WeakSet[SonaEngine] = weakref.WeakSet()


def _leave_to_parents() -> None:
    for engine in list(_engines):
        engine._leave_to_parent()


os.register_at_fork(after_in_child=_leave_to_parents)
