"""A server's hold on one space: opened with its database or without, kept current, and ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import Environment, Migrate, SonaConfig
from sona_pg.config.space_settings import Settings, applied
from sona_pg.domain.cycle import CycleResult, RebuildResult
from sona_pg.domain.policy_estimate import PolicyEvaluation
from sona_pg.domain.space import Space
from sona_pg.engine.ending import Ending
from sona_pg.engine.figures import Figures
from sona_pg.engine.fleet_member import FleetMember
from sona_pg.engine.process_runtime import runtimes
from sona_pg.engine.version_holder import VersionHolder
from sona_pg.errors import DatabaseUnavailable, SonaError, TrajectoryError
from sona_pg.ingest import Writer
from sona_pg.ingest.candidate_rows import Extra
from sona_pg.ingest.outage import Outage
from sona_pg.ingest.spool import SpoolSource
from sona_pg.ingest.wakeups import held_here
from sona_pg.recorder import HotPath
from sona_pg.serving.candidate_ranker import CandidateRanker
from sona_pg.serving.last_version import LastVersion
from sona_pg.serving.route_chooser import RouteChooser
from sona_pg.serving.served_version import ServedVersion
from sona_pg.store.connect import place_of
from sona_pg.store.database import Database, Snapshot
from sona_pg.store.roll_call import Beat, RollCall
from sona_pg.worker.background import BackgroundLoop
from sona_pg.worker.coordinator import LoopCoordinator
from sona_pg.worker.evaluation import evaluate
from sona_pg.worker.learner_cache import LearnerCache
from sona_pg.worker.rebuild import rebuild

log = logging.getLogger(__name__)

LEARN_TIMEOUT = 60.0  # seconds that learning waits for what was recorded to be committed


NO_CANDIDATES = (0, 0)  # the signal of a space without any


class OpenRequest(NamedTuple):
    """What an engine was asked to open."""

    url: str | None  # None: SONA_PG_URL, else the embedded server
    space: str
    create: bool  # the space, if there is none of that name
    migrate: Migrate | None  # None: as SONA_PG_MIGRATE says
    require_database: bool  # to answer now; otherwise the engine is opened without it


class Session:
    """Opens a space and keeps it current: writer, follower, maintainer, and the version that is served."""

    def __init__(self, hot: HotPath, config: SonaConfig, wanted: OpenRequest) -> None:
        """Open what is ``wanted`` for the recorder ``hot``; see ``SonaEngine`` for what may be raised."""
        self.hot = hot
        self._wishes = config
        self._config = config  # with the settings of the space, once the database has answered
        self._wanted = wanted
        self._space: Space | None = None  # until the database has answered
        self.writer: Writer | Outage
        self._away: DatabaseUnavailable | None = None  # why it had not, at the opening
        self._closed = False
        self._ending = Ending(self._end, self._held_here)
        self._refreshing = threading.RLock()
        self._shared: tuple[int, tuple[int, int]] | None = None  # version and signal when candidates were last read
        self._dropped_said = 0  # records refused, as it was said last
        self._figures = Figures(self)
        self._coordinator: LoopCoordinator | None = None  # until the database has answered
        self._failures = 0  # of following
        environment = Environment.read()
        self._migrate = wanted.migrate or environment.migrate
        self.runtime = runtimes.take(wanted.url or environment.url, environment.home)
        try:
            self._open()
        except BaseException:
            runtimes.release(self.runtime)
            raise

    def _open(self) -> None:
        runtime = self.runtime
        self.member = FleetMember(self.hot, self.database)
        last = LastVersion(runtime.home, place_of(runtime.url), self._wanted.space)
        self._pending = runtime.home.absolute() / "spool" / f"pending-{last.path.stem}-{self.hot.dim}"
        self.chooser = RouteChooser(self._config.loops.seed, self._keep_set)
        self.ranker = CandidateRanker(self.hot.dim, self._keep, self._keep_set)
        self.held = VersionHolder(self.hot, self._config, last)
        must = self._wanted.require_database or runtime.embedded is not None
        away = None if must else runtime.outage.problem
        try:
            space = self._find_space() if away is None else None
        except DatabaseUnavailable as exc:
            if must:
                raise
            runtime.outage.note(exc)
            space, away = None, exc
        if space is not None:
            self._attach(space)
        elif away is not None:
            self._open_without_database(away)
        self.hot.name_sets(self.ranker.shown)
        runtime.maintainer.add(self._config.maintenance)
        runtime.follower.join(self)

    # -- the space, at once or once the database answers ----------------------------------------------------

    def _find_space(self) -> Space:
        """Return the space, with the schema in order and this server registered."""
        self.runtime.prepare(self._migrate)
        return self.member.join(self._wanted.space, self._wishes, create=self._wanted.create)

    def _attach(self, space: Space) -> None:
        """Serve the live version of the space, and start to write into it."""
        self._learn_with(space.settings)
        self._coordinator = self.runtime.learner.coordinator(space, self.server_id, self._config)
        self._space = space
        try:
            self.held.serve_first(self._read, lambda: self.database.live_version(space))
            self._share_candidates(())
            self._begin_writing(space)
        except BaseException:
            self._space = None
            raise
        if self._coordinator.automatic:
            self.runtime.learner.add(self._coordinator, lambda _: self.refresh())
            self.runtime.learner.start()

    def _begin_writing(self, space: Space) -> None:
        if self._away is None:
            self.writer = self._open_writer(space)
            return
        outage = self.writer
        assert isinstance(outage, Outage)
        with outage.taken_over() as extras:
            writer = self._open_writer(space, outage.source, extras)
            outage.succeeded_by(writer)
        self.writer = writer

    def _open_writer(
        self, space: Space, source: SpoolSource | None = None, extras: Sequence[Extra] = ()
    ) -> Writer:  # fmt: skip
        return self.runtime.writers.open(
            self.hot,
            space_id=space.space_id,
            server_id=self.server_id,
            space_name=space.name,
            config=self._config.ingest,
            home=self.runtime.home,
            on_batch=self.held.learn_at_once,
            pending=self._pending,
            source=source,
            extras=extras,
        )

    def _open_without_database(self, exc: DatabaseUnavailable) -> None:
        """Record, and serve the last version that this machine knew, until the database answers."""
        self._away = exc
        kept = self.held.serve_kept()
        self.writer = Outage(self.hot, self._config.ingest, self._pending, str(exc))
        self.runtime.outage.warn(
            "opened without the database, serving %s; what is recorded waits (durability %r) and is written once it "
            "answers: %s",
            f"version {self.serving.version} as this machine knew it" if kept else "nothing learned",
            self._config.ingest.durability,
            exc,
        )

    def attach_late(self) -> None:
        """Do what opening the engine could not do, unless that was done."""
        with self._refreshing:
            if self._space is not None:
                return
            try:
                self._attach(self._find_space())
            except SonaError as exc:
                if isinstance(self.writer, Outage):
                    self.writer.reason = str(exc)
                raise
        self.runtime.outage.answered()
        self.runtime.outage.warn("the database answers: what was recorded without it is being written")

    def _learn_with(self, settings: Settings) -> None:
        """Take the settings of the space: the next version is served, and loop A learns, by them."""
        self._config = applied(self._config, settings)
        self.held.learn_with(self._config)

    # -- what an engine asks of it --------------------------------------------------------------------------

    @property
    def space(self) -> Space:
        """The space; DatabaseUnavailable if the database has not answered since the engine was opened."""
        if self._space is None:
            raise DatabaseUnavailable(
                f"the database has not answered since the engine was opened; what is recorded waits: {self._away}"
            )
        return self._space

    @property
    def space_name(self) -> str:
        """The space's name, also before the database has answered."""
        return self._wanted.space

    def call_space(self, name: str) -> None:
        """Note that the space was renamed."""
        self._wanted = self._wanted._replace(space=name)

    @property
    def config(self) -> SonaConfig:
        """The configuration as it is obeyed: with the settings of the space."""
        return self._config

    def set_settings(self, changes: Mapping[str, Any]) -> Settings:
        """Change what the space learns with; see ``SonaEngine.set_settings``."""
        self.require_database()
        settings = self.database.set_settings(self.space, changes)
        self._learn_with(settings)
        return settings

    @property
    def server_id(self) -> UUID:
        """This server's id in ``sona.servers``."""
        return self.member.server_id

    @property
    def serving(self) -> ServedVersion:
        """The version that is served."""
        return self.held.serving

    @property
    def _background(self) -> BackgroundLoop:
        """The loop that learns in the space."""
        assert self._coordinator is not None
        return self._coordinator.background

    @property
    def failures(self) -> int:
        """How often a due cycle has failed, or taking up a version."""
        return self._failures + (0 if self._coordinator is None else self._coordinator.failures_in_all)

    @property
    def database(self) -> Database:
        """The database, over the connections of the process."""
        return self.runtime.database

    @property
    def url(self) -> str:
        """The database's address."""
        return self.runtime.url

    def require_open(self) -> None:
        """Raise ``TrajectoryError`` once the engine is closed."""
        if self._closed:
            raise TrajectoryError("the engine is closed: open another one")

    @property
    def is_attached(self) -> bool:
        """Whether the database has answered since the engine was opened."""
        return self._space is not None

    def require_database(self) -> None:
        """Raise ``DatabaseUnavailable`` where the database has not answered since the engine was opened."""
        self.require_open()
        _ = self.space

    def silence(self, seconds: float) -> str | None:
        """Say why the database is not worth asking, or that nothing was heard of it for a poll and ``seconds``."""
        if self._space is None:
            return f"has not answered since the engine was opened: {self._away}"
        silent = time.monotonic() - self.runtime.follower.last_contact
        if silent > self._config.loops.poll_interval + seconds:
            return f"nothing was heard of it for {silent:.0f} s"
        return None

    def flush(self, timeout: float | None) -> None:
        """Return once everything recorded before is committed."""
        self.require_open()
        self.writer.flush(timeout)
        self._figures.forget()

    def learn(self) -> CycleResult:
        """Commit what was recorded, run loop B on it, and serve the result."""
        self.require_database()
        self.flush(LEARN_TIMEOUT)
        assert self._coordinator is not None
        result = self._coordinator.force()
        self.refresh()
        self._figures.forget()
        return result

    def tick(self) -> CycleResult | None:
        """Commit what was recorded, run loop B if enough waits, and serve the result."""
        self.require_open()
        if self._space is None or self._coordinator is None:
            return None
        self.flush(LEARN_TIMEOUT)
        result = self._coordinator.run_asked()
        if result is not None:
            self.refresh()
        return result

    def refresh(self) -> int:
        """Serve the live version, if it is another one; say that this server is alive; return what it serves."""
        self.require_open()
        with self._refreshing:
            self.attach_late()
            if self.held.take_up(self._heartbeat(), self._read, self._learned):
                self._heartbeat()
            self._share_candidates(self._settled())
            self._keep_version()
            return self.serving.version

    def stage(self) -> CycleResult:
        """Commit what was recorded, learn from a slice of it, and store the result as a candidate."""
        self.require_database()
        self.flush(LEARN_TIMEOUT)
        assert self._coordinator is not None
        return self._coordinator.stage()

    def serve_instead(self, serving: ServedVersion, name: str) -> None:
        """Serve something else than the live version until a newer one is published; ``name`` says what."""
        with self._refreshing:
            self.held.serve(serving, name)
            self._shared = None  # its candidates are others
        log.info("serving %s until a version after %d is published", name, self.serving.version)

    def load_adapters(self, path: Any) -> None:
        """Serve the adapters of a file until a newer version is published."""
        with self._refreshing:
            self.held.load_adapters(path)

    def rebuild(self, publish: bool) -> RebuildResult:
        """Learn the space again from its ledger; see ``SonaEngine.rebuild``."""
        self.require_database()
        self.flush(LEARN_TIMEOUT)
        result = rebuild(self.database, self.space, self._config, publish=publish)
        self.refresh()
        return result

    def evaluate(self, **wanted: Any) -> PolicyEvaluation:
        """Judge policies on the logged decisions; see ``SonaEngine.evaluate_policies``."""
        self.require_open()
        return evaluate(self.database, self.space, self._config, live_version=self.refresh(), **wanted)

    @property
    def figures(self) -> Figures:
        """What is known of the space and this server."""
        return self._figures

    # -- the end --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Refuse records, write what was accepted, stop the threads, and let go of the database; see ``Ending``."""
        self._ending.close(self.hot.refuse_records)

    def let_go(self) -> None:
        """In a forked child: stop holding the parent's embedded server."""
        self.runtime.let_go()

    def _end(self) -> None:
        try:
            self.writer.close()
        finally:
            self.runtime.follower.leave(self, self.database.cut)
            if self._coordinator is not None:
                self.runtime.learner.remove(self._coordinator, self.database.cut)
            self._closed = True
            self.runtime.maintainer.remove(self._config.maintenance)
            self._keep_version(now=True)
            self._depart()
            runtimes.release(self.runtime)

    def _held_here(self) -> bool:
        """Whether this thread holds what the end needs: a signal handler has interrupted it inside."""
        return self.writer.held_here or held_here(self._refreshing) or self.held.held_here or runtimes.held_here

    def _depart(self) -> None:
        """Leave the fleet, unless the database is away: nobody waits for it to come back at the end."""
        if self._space is not None and self.silence(1.0) is None:
            self.member.depart(self._space)

    # -- keeping current: what the follower asks of it ------------------------------------------------------

    @property
    def poll_interval(self) -> float:
        """Seconds between looks for a new version."""
        return self._config.loops.poll_interval

    @property
    def space_id(self) -> int | None:
        """The space's number; None until the database has answered."""
        return None if self._space is None else self._space.space_id

    def beat(self) -> Beat:
        """Return this server's heartbeat."""
        return Beat(self.space.space_id, self.server_id, self.serving.version, self.member.skew_ms)

    def hear(self, heard: RollCall, sent_at: float, answered_at: float) -> bool:
        """Take up what a look at many spaces has shown; return False if a caller is refreshing just now."""
        if self._closed or not self._refreshing.acquire(blocking=False):
            return self._closed
        try:
            space = self.space
            if heard.at is not None:
                self.member.measure_clock(sent_at, heard.at, answered_at)
            if self.server_id in heard.unknown:  # maintenance has forgotten it: its machine slept for days
                self.member.register(space)
            if self.held.take_up(heard.live[space.space_id], self._read, self._learned):
                self._heartbeat()
            signal = heard.signals.get(space.space_id)
            if signal is not None:
                self._share_candidates(self._settled(), signal)
            self._keep_version()
            self._figures.keep_up()
            return True
        finally:
            self._refreshing.release()

    def count_failure(self) -> None:
        """Count what has failed and should not."""
        self._failures += 1

    def say_away(self) -> None:
        """Warn of records that were refused during an outage: the writer, which says so otherwise, waits."""
        dropped = self.hot.dropped_count
        if dropped > self._dropped_said:
            self.runtime.outage.warn(
                "the database is away and the buffer of %d records is full: %d were refused so far; durability 'spool' "
                "keeps them on the disk", self.hot.capacity, dropped
            )  # fmt: skip
        self._dropped_said = dropped

    def _heartbeat(self) -> int:
        """Say that this server is there; return the live version."""
        return self.member.heartbeat(self.space, self.serving.version)

    def _learned(self, ids: NDArray[np.uint8], version: int) -> Collection[bytes]:
        """Return which of the trajectories ``ids`` (n, 16) a version has learned from."""
        return self.database.learned_of(self.space, ids, version)

    def _read(self, live: int | None) -> ServedVersion:
        """Return the live version: from the learner's memory if it was made here, else from the store."""
        memory = self._background.memory
        if memory is None or memory.version != live or memory.cycle_id != self.database.cycle_of(self.space, live):
            # Nothing was made here, or it was not committed, and another server has made a version of that number.
            if live is not None:  # else the space has just been opened, and its settings with it
                self._learn_with(self.database.settings(self.space))
            read = self.database.snapshot(self.space, self._background.catalog)
            self._background.catalog = read.catalog  # one copy for who serves and who learns
            return ServedVersion.of(read, self.hot.dim, self._config)
        return ServedVersion.of(_snapshot_of(memory), self.hot.dim, self._config)

    def _keep_version(self, *, now: bool = False) -> None:
        if self.runtime.embedded is None and self._space is not None:
            self.held.keep(self._space, now=now)

    def _settled(self) -> Collection[str]:
        """Return the candidates that this server was given and that are on their way no more."""
        remembered = self.ranker.overlay.remembered()
        return remembered if self.writer.candidates_settled else ()

    def _share_candidates(self, settled: Collection[str], signal: tuple[int, int] | None = None) -> None:
        """Know by id what any server has committed, before a version has it; of ``settled``, whether it is stored."""
        overlay, catalog = self.ranker.overlay, self.serving.catalog
        signal = signal or self.database.candidate_signal(self.space)
        seen = (self.serving.version, signal)
        if (seen == self._shared or (signal == NO_CANDIDATES and self._shared is None)) and not settled:
            return
        new = self.database.new_candidates(self.space, len(catalog.ids))
        overlay.share(catalog, new, lambda ids: self.database.named_candidates(self.space, ids), settled)
        self._shared = seen

    def _keep(self, ids: Sequence[str], embeddings: NDArray[Any], *, wait: bool = False) -> bool:
        return self.writer.enqueue_candidates(ids, embeddings, wait=wait)

    def _keep_set(self, set_id: int, ids: Sequence[str]) -> bool:
        return self.writer.enqueue_candidate_set(set_id, ids)


def _snapshot_of(memory: LearnerCache) -> Snapshot:
    """Return what reading the version from the store would give."""
    known = memory.knowledge
    return Snapshot(memory.version, known.state, list(known.patterns), memory.catalog.bare())
