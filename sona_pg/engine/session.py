"""A server's hold on one space: what is open while an engine is, and how it follows the live version."""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import threading
import time
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sona_pg._version import __version__
from sona_pg.config import Environment, Migrate, SonaConfig
from sona_pg.domain.cycle import CycleResult, RebuildResult
from sona_pg.domain.ids import uuid7
from sona_pg.domain.policy_estimate import PolicyEvaluation
from sona_pg.domain.space import Space
from sona_pg.domain.state import LoraWeights
from sona_pg.engine.ending import Ending
from sona_pg.engine.follower import Follower
from sona_pg.errors import (
    DatabaseError,
    DatabaseUnavailable,
    DimensionMismatch,
    SonaError,
    StorageError,
    TrajectoryError,
)
from sona_pg.ingest import Writer
from sona_pg.ingest.candidate_rows import Extra
from sona_pg.ingest.outage import Outage
from sona_pg.ingest.spool import SpoolSource
from sona_pg.ingest.wakeups import held_here
from sona_pg.learning.adapters.adapter_file import read_adapters, write_adapters
from sona_pg.recorder import Adapter, EncodedBatch, HotPath
from sona_pg.serving.candidate_ranker import CandidateRanker
from sona_pg.serving.instant import InstantLoop
from sona_pg.serving.last_version import LastVersion
from sona_pg.serving.last_version import load as load_version
from sona_pg.serving.route_chooser import RouteChooser
from sona_pg.serving.served_version import ServedVersion
from sona_pg.store.admin.embedded import EmbeddedServer, start_embedded
from sona_pg.store.connect import place_of
from sona_pg.store.database import Database, Snapshot
from sona_pg.store.notify import VersionListener
from sona_pg.worker.background import BackgroundLoop
from sona_pg.worker.coordinator import LoopCoordinator
from sona_pg.worker.evaluation import evaluate
from sona_pg.worker.learner_cache import LearnerCache
from sona_pg.worker.maintainer import Maintainer
from sona_pg.worker.rebuild import rebuild

log = logging.getLogger(__name__)

WAITING_FOR = 60.0  # seconds for which the count of feedback without its trajectory is good
SILENT_FOR = 5.0  # seconds beyond a poll after which a database counts as away, and is not asked for figures
REFUSED_FOR = 60.0  # seconds between attempts at a version that could not be served
LEARN_TIMEOUT = 60.0  # seconds that learning waits for what was recorded to be committed


class Refused(NamedTuple):
    """A version that this server could not serve."""

    version: int
    reason: Exception
    at: float  # monotonic seconds


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
        self._hot = hot
        self._config = config
        self._wanted = wanted
        self._space: Space | None = None  # until the database has answered
        self.writer: Writer | Outage
        self._away: DatabaseUnavailable | None = None  # why it had not, at the opening
        self._closed = False
        self._refused: Refused | None = None
        self._skew_ms: float | None = None
        self._ending = Ending(self._end, self._held_here)
        self._refreshing = threading.RLock()
        self._waiting: tuple[float, dict[str, Any] | None] = (0.0, None)
        self._shared: tuple[int, tuple[int, int]] | None = None  # version and signal when candidates were last read
        self._adapting = threading.RLock()  # between a new version and loop A: the later one must win
        environment = Environment.read()
        self._embedded: EmbeddedServer | None = None
        self._dropped_said = 0  # records refused, as it was said last
        self._not_revived = ""  # why the embedded server could not be started again, as it was said last
        self._home = environment.home
        address = wanted.url or environment.url
        self._migrate = wanted.migrate or environment.migrate
        if address is None:
            self._migrate = "auto"  # nobody else could
            self._embedded = start_embedded(environment.home)
            address = self._embedded.url
        try:
            self._open(address)
        except BaseException:
            if self._embedded is not None:
                self._embedded.release()
            raise

    def _open(self, address: str) -> None:
        self.url = address
        self.server_id = uuid7()
        self.database = Database.at(address)
        self._last_version = LastVersion(self._home, place_of(address), self._wanted.space)
        pending = f"pending-{self._last_version.path.stem}-{self._hot.dim}"
        self._pending = self._home.absolute() / "spool" / pending
        self._listener = VersionListener(address)
        try:
            self.chooser = RouteChooser(self._config.loops.seed, self._keep_set)
            self.ranker = CandidateRanker(self._hot.dim, self._keep, self._keep_set)
            try:
                space = self._find_space()
            except DatabaseUnavailable as exc:
                if self._wanted.require_database or self._embedded is not None:
                    raise
                self._open_without_database(exc)
            else:
                self._attach(space)
            self._hot.name_sets(self.ranker.shown)
        except BaseException:
            self.database.close()
            raise
        self._follower = Follower(
            self._listener, self._config.loops.poll_interval, self.refresh, self.tick, self._revive
        )  # fmt: skip
        self._maintainer = Maintainer(self.database, self._config.maintenance)
        self._follower.start()
        self._maintainer.start()

    def _find_space(self) -> Space:
        """Return the space, with the schema in order and this server registered."""
        self.database.prepare(self._migrate)
        wanted = self._wanted
        asked, now = time.time(), self.database.now()
        self._measure_clock(asked, now)
        space = self.database.open_space(wanted.space, self._hot.dim, now, create=wanted.create)
        self.database.register(space, self.server_id, socket.gethostname(), os.getpid(), __version__)
        return space

    def _attach(self, space: Space) -> None:
        """Serve the live version of the space, and start to write into it."""
        self._background = BackgroundLoop(self.database, space, self.server_id, self._config)
        self._coordinator = LoopCoordinator(self._background, self.database, space, self._config)
        self._space = space
        try:
            serving = self._first()
            if self._away is None:
                self._instant = InstantLoop(serving.state.micro, self._config.micro, self._config.loops.seed)
            self._serve(serving)
            self._share_candidates(())
            self._begin_writing(space)
        except BaseException:
            self._space = None
            raise
        self._listener.follow(space.space_id)

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
        return Writer(
            self._hot,
            self.database.engine,
            space_id=space.space_id,
            server_id=self.server_id,
            space_name=space.name,
            config=self._config.ingest,
            home=self._home,
            on_batch=self._on_batch,
            pending=self._pending,
            source=source,
            extras=extras,
        )

    def _open_without_database(self, exc: DatabaseUnavailable) -> None:
        """Record, and serve the last version that this machine knew, until the database answers."""
        self._away = exc
        kept = load_version(self._last_version.path, self._hot.dim)
        serving = ServedVersion.of(kept[1], self._hot.dim, self._config) if kept else self._nothing_learned()
        self._instant = InstantLoop(serving.state.micro, self._config.micro, self._config.loops.seed)
        self._serve(serving)
        self.writer = Outage(self._hot, self._config.ingest, self._pending, str(exc))
        log.warning(
            "opened without the database, serving %s; what is recorded waits (durability %r) and is written once it "
            "answers: %s",
            f"version {serving.version} as this machine knew it" if kept else "nothing learned",
            self._config.ingest.durability,
            exc,
        )

    def _attach_late(self) -> None:
        """Do what opening the engine could not do."""
        try:
            space = self._find_space()
            self._attach(space)
        except SonaError as exc:
            if isinstance(self.writer, Outage):
                self.writer.reason = str(exc)
            raise
        log.warning("the database answers: what was recorded without it is being written")

    @property
    def space(self) -> Space:
        """The space; DatabaseUnavailable if the database has not answered since the engine was opened."""
        if self._space is None:
            raise DatabaseUnavailable(
                f"the database has not answered since the engine was opened; what is recorded waits: {self._away}"
            )
        return self._space

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

    def flush(self, timeout: float | None) -> None:
        """Return once everything recorded before is committed."""
        self.require_open()
        self.writer.flush(timeout)

    def learn(self) -> CycleResult:
        """Commit what was recorded, run loop B on it, and serve the result."""
        self.require_database()
        self.flush(LEARN_TIMEOUT)
        result = self._coordinator.force()
        self.refresh()
        return result

    def tick(self) -> CycleResult | None:
        """Run loop B if it is due, and serve the result."""
        self.require_open()
        if self._space is None:
            return None
        result = self._coordinator.run_due()
        if result is not None:
            self.refresh()
        return result

    def refresh(self) -> int:
        """Serve the live version, if it is another one; say that this server is alive; return what it serves."""
        self.require_open()
        with self._refreshing:
            if self._space is None:
                self._attach_late()
            live = self._heartbeat()
            if live != self.serving.version and not self._is_refused(live):
                self._take_up(live)
            remembered = self.ranker.overlay.remembered()
            self._share_candidates(remembered if self.writer.candidates_settled else ())
            self._keep_version()
            return self.serving.version

    def _keep_version(self, *, now: bool = False) -> None:
        """Keep what is served in the home folder, for an engine that is opened while the database is away."""
        if self._embedded is None and self._space is not None:
            self._last_version.keep(self._space, self.serving.version, self.serving.as_snapshot, now=now)

    def _take_up(self, live: int) -> None:
        """Serve the live version; one that cannot be served leaves the one before in place, and is said once."""
        try:
            serving = self._read(live)
        except DatabaseUnavailable:
            raise
        except Exception as exc:  # whatever is wrong with it, this server must go on
            self._refused = Refused(live, exc, time.monotonic())
            log.exception("version %d cannot be served: version %d stays", live, self.serving.version)
            return
        self._refused = None
        self._serve(serving)
        self._heartbeat()

    def _is_refused(self, version: int) -> bool:
        """Whether a version could not be served a moment ago."""
        refused = self._refused
        return refused is not None and refused.version == version and time.monotonic() - refused.at < REFUSED_FOR

    def _first(self) -> ServedVersion:
        """Return the live version at the opening; one that cannot be served counts as not learned yet."""
        try:
            return self._read(None)
        except DatabaseUnavailable:
            raise
        except Exception as exc:  # an engine that serves nothing still records
            live = self.database.live_version(self.space)
            self._refused = Refused(live, exc, time.monotonic())
            log.exception("version %d cannot be served: nothing that was learned is, until a later version", live)
            return self._nothing_learned()

    def _nothing_learned(self) -> ServedVersion:
        nothing = Snapshot(0, None, [], [], np.zeros((0, self._hot.dim), np.float32))
        return ServedVersion.of(nothing, self._hot.dim, self._config)

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
        stats: dict[str, Any] = {
            "space": self._wanted.space,
            "dim": self._hot.dim,
            **self.serving.described(),
            "refused_version": None if self._refused is None else str(self._refused.reason),
            "adapters": self._adapters,
            "server": {
                "id": str(self.server_id),
                "recorded": self._hot.recorded_count,
                "dropped": self._hot.dropped_count,
                "abandoned": self._hot.abandoned_count,
                "waiting": self._hot.waiting,
                "instant_updates": self._instant.metrics().updates,
                "failed_cycles": self._follower.failures,
                "clock_skew_ms": None if self._skew_ms is None else round(self._skew_ms, 3),
                "writer": {name: _as_json(value) for name, value in dataclasses.asdict(self.writer.stats()).items()},
            },
        }
        if self._space is None:
            stats["database"] = f"has not answered since the engine was opened: {self._away}"
            return stats
        silent = time.monotonic() - self._follower.last_contact
        if silent > self._config.loops.poll_interval + SILENT_FOR:
            stats["database"] = f"nothing was heard of it for {silent:.0f} s"
            return stats
        try:
            stats["totals"] = self.database.totals(self.space)
            stats["waiting_feedback"] = {name: _as_json(value) for name, value in self._waiting_feedback().items()}
            stats["database"] = "answers"
        except DatabaseError as exc:
            stats["database"] = str(exc)
        return stats

    def close(self) -> None:
        """Refuse records, write what was accepted, stop the threads, and let go of the database; see ``Ending``."""
        self._ending.close(self._hot.refuse_records)

    def let_go(self) -> None:
        """In a forked child: stop holding the parent's embedded server."""
        if self._embedded is not None:
            self._embedded.release()

    def _end(self) -> None:
        try:
            self.writer.close()
        finally:
            self._follower.stop(self.database.cut)
            self._closed = True
            self._maintainer.stop()
            self._keep_version(now=True)
            self._depart()
            self.database.close()
            if self._embedded is not None:
                self._embedded.release()

    def _held_here(self) -> bool:
        """Whether this thread holds what the end needs: a signal handler has interrupted it inside."""
        return self.writer.held_here or held_here(self._refreshing) or held_here(self._adapting)

    def _register(self) -> None:
        self.database.register(self.space, self.server_id, socket.gethostname(), os.getpid(), __version__)

    def _heartbeat(self) -> int:
        """Say that this server is there; return the live version."""
        before = time.time()
        heard = self.database.heartbeat(self.space, self.server_id, self.serving.version, self._skew_ms)
        self._measure_clock(before, heard.at)
        if not heard.registered:  # maintenance has forgotten it: its machine slept for days
            self._register()
        return heard.live_version

    def _measure_clock(self, before: float, at: datetime) -> None:
        """Compare this machine's clock with the database's, which said ``at`` when asked at ``before``."""
        after = time.time()
        ahead = (before + after) / 2 - at.timestamp()
        self._skew_ms = ahead * 1000
        self._hot.set_clock_ahead(round(ahead * 1e6), uncertainty=round(abs(after - before) / 2 * 1e6))

    def _share_candidates(self, settled: Collection[str]) -> None:
        """Know by id what any server has committed, before a version has it; of ``settled``, whether it is stored."""
        overlay, catalog = self.ranker.overlay, self.serving.catalog
        seen = (self.serving.version, self.database.candidate_signal(self.space))
        if seen == self._shared and not settled:
            return
        new = self.database.new_candidates(self.space, len(catalog.ids))
        overlay.share(catalog, new, lambda ids: self.database.candidate_embeddings(self.space, ids), settled)
        self._shared = seen

    def _depart(self) -> None:
        """Leave the fleet, unless the database is away: nobody waits for it to come back at the end."""
        if self._space is None:
            return
        if time.monotonic() - self._follower.last_contact > self._config.loops.poll_interval + 1.0:
            return
        try:
            self.database.depart(self.space, self.server_id)
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
        self._say_dropped()
        if self._embedded is None:
            return
        try:
            self._embedded, gone = start_embedded(self._home), self._embedded
        except SonaError as exc:
            if str(exc) != self._not_revived:
                log.warning("the embedded Postgres cannot be started again: %s", exc)
            self._not_revived = str(exc)
        else:
            self._not_revived = ""
            gone.release()

    def _say_dropped(self) -> None:
        """Warn of records that were refused during an outage: the writer, which says so otherwise, waits."""
        dropped = self._hot.dropped_count
        if dropped > self._dropped_said:
            log.warning(
                "the database is away and the buffer of %d records is full: %d were refused so far; durability 'spool' "
                "keeps them on the disk", self._hot.capacity, dropped
            )  # fmt: skip
        self._dropped_said = dropped

    def _read(self, live: int | None) -> ServedVersion:
        """Return the live version: from the learner's memory if it was made here, else from the store."""
        memory = self._background.memory
        if memory is None or memory.version != live or memory.cycle_id != self.database.cycle_of(self.space, live):
            # Nothing was made here, or it was not committed, and another server has made a version of that number.
            return ServedVersion.of(self.database.snapshot(self.space), self._hot.dim, self._config)
        return ServedVersion.of(_snapshot_of(memory), self._hot.dim, self._config)

    def _serve(self, serving: ServedVersion, adapters: str | None = None) -> None:
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


def _as_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _adapter(weights: LoraWeights) -> Adapter:
    return Adapter(weights.a, weights.b, weights.scale)


def _snapshot_of(memory: LearnerCache) -> Snapshot:
    """Return what reading the version from the store would give."""
    known, catalog = memory.knowledge, memory.catalog
    return Snapshot(memory.version, known.state, list(known.patterns), list(catalog.ids), catalog.embeddings)
