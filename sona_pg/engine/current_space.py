"""An open space, kept current: its served version, its candidates, and its row in the fleet."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.config.space_settings import Settings, applied
from sona_pg.domain.gate import version_for
from sona_pg.domain.memory import GroupOrder
from sona_pg.domain.space import Space
from sona_pg.engine.access_feed import AccessFeed
from sona_pg.engine.candidate_feed import CandidateFeed
from sona_pg.engine.evidence_feed import EvidenceFeed
from sona_pg.engine.figures import SILENT_FOR, Figures
from sona_pg.engine.fleet_member import FleetMember
from sona_pg.engine.followed_space import Heard
from sona_pg.engine.own_embedder import OwnEmbedder
from sona_pg.engine.process_runtime import ProcessRuntime
from sona_pg.engine.spending_feed import SpendingFeed
from sona_pg.engine.version_holder import VersionHolder
from sona_pg.errors import DatabaseError, DatabaseUnavailable, SpaceRemoved, TrajectoryError
from sona_pg.ingest import Writer
from sona_pg.ingest.outage import Outage
from sona_pg.recorder import HotPath
from sona_pg.serving.access_counter import AccessCounter
from sona_pg.serving.candidate_ranker import CandidateRanker
from sona_pg.serving.graph_evidence import GraphEvidence
from sona_pg.serving.last_version import LastVersion
from sona_pg.serving.overlay import Settled
from sona_pg.serving.pattern_evidence import PatternEvidence
from sona_pg.serving.recaller import Recaller
from sona_pg.serving.recent_evidence import RecentEvidence
from sona_pg.serving.route_chooser import RouteChooser
from sona_pg.serving.routing_evidence import RoutingEvidence
from sona_pg.serving.served_version import ServedVersion
from sona_pg.store.connect import place_of
from sona_pg.store.database import Database
from sona_pg.store.roll_call import Beat
from sona_pg.store.snapshots import Snapshot
from sona_pg.worker.background import BackgroundLoop
from sona_pg.worker.coordinator import LoopCoordinator
from sona_pg.worker.learner_cache import LearnerCache

log = logging.getLogger(__name__)


class CurrentSpace(ABC):
    """One open space of this process, synchronised with the database."""

    def __init__(self, hot: HotPath, config: SonaConfig, name: str, runtime: ProcessRuntime) -> None:
        """Hold the space called ``name`` for the recorder ``hot``, serving version 0."""
        self.hot = hot
        self.runtime = runtime
        self._name = name
        self._config = config  # with the settings of the space, once the database has answered
        self._space: Space | None = None  # until the database has answered
        self.made_at: datetime | None = None  # the space; None until the database has answered
        self._is_lost = False  # another space has its number
        self.writer: Writer | Outage
        self._away: DatabaseUnavailable | None = None  # error of the database at the opening
        self._closed = False
        self._coordinator: LoopCoordinator | None = None  # until the database has answered
        self._failures = 0  # of following
        self._refreshing = threading.RLock()
        self._kinds: bytes | None = None  # weights for kinds of patterns, to be stored
        self.own_embedder = OwnEmbedder(name)
        self._dropped_said = 0  # refused records at the last warning
        self.member = FleetMember(hot, runtime.database)
        last = LastVersion(runtime.home, place_of(runtime.url), name)
        self._pending = runtime.home.absolute() / "spool" / f"pending-{last.path.stem}-{hot.dim}"
        self.chooser = RouteChooser(config.loops.seed, self._keep_set)
        self.evidence = RecentEvidence(config.loops.recent)
        self.routing = RoutingEvidence(self.evidence, hot.dim)
        self.patterns = PatternEvidence(self.evidence, hot.dim)
        self.ranker = CandidateRanker(hot.dim, self._keep, self._keep_set, self.evidence, runtime.uptake)
        self.graph = GraphEvidence(self.evidence, hot.dim, self.ranker, lambda: self._config.graph)
        self.recaller = Recaller(self.ranker, self.graph, lambda: self.database.candidate_order(self.space))
        self.held = VersionHolder(hot, config, last)
        self.uses = AccessFeed(lambda: self.database, self.held.accesses)
        self.spending = SpendingFeed(
            self.chooser.space_budget, self.member.server_id, lambda: self.space, lambda: self.database
        )
        self._candidates = CandidateFeed(lambda: self.database, self.ranker, self.recaller)
        self._feed = EvidenceFeed(lambda: self.database, self.evidence)
        self._figures = Figures(self)

    @property
    def space(self) -> Space:
        """The space; DatabaseUnavailable until the database has answered, SpaceRemoved if a restore took its number."""
        if self._is_lost:
            raise SpaceRemoved(self._name, replaced=True)
        if self._space is None:
            raise DatabaseUnavailable(
                f"the database has not answered since the engine was opened; what is recorded waits: {self._away}"
            )
        return self._space

    @property
    def space_name(self) -> str:
        """The space's name, also before the database has answered."""
        return self._name

    @property
    def space_id(self) -> int | None:
        """The space's number; None until the database has answered."""
        return None if self._space is None else self._space.space_id

    @property
    def config(self) -> SonaConfig:
        """The effective configuration: with the settings of the space."""
        return self._config

    @property
    def server_id(self) -> UUID:
        """This server's id in ``sona.servers``."""
        return self.member.server_id

    @property
    def serving(self) -> ServedVersion:
        """The version that is served."""
        return self.held.serving

    @property
    def is_attached(self) -> bool:
        """Whether the database has answered since the engine was opened."""
        return self._space is not None

    def require_open(self) -> None:
        """Raise ``TrajectoryError`` once the engine is closed."""
        if self._closed:
            raise TrajectoryError("the engine is closed: open another one")

    @property
    def failures(self) -> int:
        """Number of failures of due cycles, and of serving a version."""
        return self._failures + (0 if self._coordinator is None else self._coordinator.failures_in_all)

    @property
    def database(self) -> Database:
        """The database, over the connections of the process."""
        return self.runtime.database

    @property
    def pages(self) -> Database:
        """The same, over connections for what people look at."""
        return self.runtime.pages

    @property
    def url(self) -> str:
        """The database's address."""
        return self.runtime.url

    @property
    def _background(self) -> BackgroundLoop:
        """The loop that learns in the space."""
        assert self._coordinator is not None
        return self._coordinator.background

    def silence(self, seconds: float) -> str | None:
        """Return the reason not to ask the database: its error, or silence for a poll and ``seconds``."""
        if self._space is None:
            return f"has not answered since the engine was opened: {self._away}"
        silent = time.monotonic() - self.runtime.follower.last_contact
        if silent > self._config.loops.poll_interval + seconds:
            return f"nothing was heard of it for {silent:.0f} s"
        return None

    @property
    def is_cut_off(self) -> bool:
        """Whether the database has failed to answer lately; False for a removed space, about which it is not asked."""
        return self._space is None or (self.silence(SILENT_FOR) is not None and self.runtime.follower.follows(self))

    # -- keeping current: called by the follower ------------------------------------------------------------

    def refresh(self) -> int:
        """Serve the live version, if it is another one; send a heartbeat; return the served version."""
        self.require_open()
        with self._refreshing:
            self.attach_late()
            if self.held.take_up(self._heartbeat(), self._read, self._learned):
                self._heartbeat()
                self.attend()
            self.uses.read(self.space, self.serving)
            self.uses.send(self.space)
            self.keep_kinds()
            self._candidates.share(self.space, self.serving, self._settled())
            self._feed.look(self.space, self.serving.version)
            self._keep_version()
            return self.serving.version

    @abstractmethod
    def attach_late(self) -> None:
        """Complete an opening without the database, once."""

    def attend(self) -> None:
        """Have the follower pass the result of its next poll to this space: something has changed, or is awaited."""
        self.runtime.follower.attend(self)

    @property
    def poll_interval(self) -> float:
        """Seconds between looks for a new version."""
        return self._config.loops.poll_interval

    @property
    def wants_every_look(self) -> bool:
        """Whether polls without news are wanted as well: a caller reads figures, or something is not settled yet."""
        return (
            self._figures.are_asked
            or self.held.refused is not None
            or self.ranker.overlay.remembers_any
            or self._kinds is not None
            or self.own_embedder.is_offered
            or self.uses.lacks(self.serving)
            or (self.runtime.embedded is None and self.held.is_to_be_kept(self.ranker.retired.ids))
        )

    @property
    def accesses(self) -> AccessCounter:
        """The counts of patterns found here."""
        return self.held.accesses

    @property
    def lacks_kinds(self) -> bool:
        """Whether no embedder has told the space how to tell kinds of patterns."""
        return self._space is not None and not self._space.has_kinds and self._kinds is None

    def offer_kinds(self, weights: bytes) -> None:
        """Keep the weights by which an embedder tells kinds of patterns, with the next poll or before learning."""
        self._kinds = weights
        self.attend()

    def keep_kinds(self) -> None:
        """Store the weights on offer, unless another server was faster; the probe of the embedder as well."""
        self.own_embedder.keep_in_operation(self.database, self.space)
        weights = self._kinds
        if weights is None:
            return
        try:
            self.database.keep_kinds(self.space, weights)
        except DatabaseUnavailable:
            raise
        except DatabaseError as exc:
            log.warning("kinds of patterns are told by words alone (see docs/roles.md): %s", exc)
        self._space = dataclasses.replace(self.space, has_kinds=True)
        self._kinds = None

    def beat(self) -> Beat:
        """Return this server's heartbeat."""
        return Beat(self.space.space_id, self.server_id, self.serving.version)

    def hear(self, heard: Heard) -> bool:
        """Apply the result of a poll of many spaces; return False while a caller is refreshing."""
        if self._closed or not self._refreshing.acquire(blocking=False):
            return self._closed
        try:
            space = self.space
            self._name = heard.name
            self.member.measure_clock(heard.clock)
            if self.spending.follow(heard.budget, heard.clock.at):
                self.runtime.follower.pace(self)
            if heard.forgotten:  # maintenance deleted the row: this machine slept for days
                self.member.register(space)
                self.spending.count_anew()
            new = self.held.take_up(self._for_this_server(heard), self._read, self._learned)
            if heard.signal is not None:
                self._candidates.share(space, self.serving, self._settled(), heard.signal.of_candidates)
                self._feed.keep_up(space, self.serving.version, heard.signal.newest)
            if new:  # the rest with the next poll, which comes soon: other servers wait for the version
                self.attend()
            else:
                self.uses.read(space, self.serving)
                self._keep_version()
                self.keep_kinds()
                self._figures.keep_up()
            return True
        finally:
            self._refreshing.release()

    def _for_this_server(self, heard: Heard) -> int:
        """Return the version that this server should serve."""
        return version_for(self.server_id, heard.live, heard.canary)

    def lose(self) -> None:
        """Stop serving, recording and learning: the store was replaced, and the space's number is another one's."""
        problem = str(SpaceRemoved(self._name, replaced=True))
        self.hot.refuse_records(problem)
        self._is_lost = True
        log.error("%s", problem)
        if self._coordinator is not None:
            self.runtime.learner.remove(self._coordinator, self.database.cut)

    def note_judged(self, batch: int) -> None:
        """Note that a batch was committed in which something is judged."""
        self._feed.note(batch)

    def read_judged(self) -> bool:
        """Read the batches that were noted; return False while a caller is refreshing."""
        if self._closed or not self._refreshing.acquire(blocking=False):
            return self._closed
        try:
            self._feed.keep_up(self.space, self.serving.version, None)
            return True
        finally:
            self._refreshing.release()

    def count_failure(self) -> None:
        """Count an unexpected failure."""
        self._failures += 1

    def say_away(self) -> None:
        """Warn of records refused during an outage: the writer, which warns otherwise, is waiting."""
        dropped = self.hot.dropped_count
        if dropped > self._dropped_said:
            self.runtime.outage.warn(
                "the database is away and the buffer of %d records is full: %d were refused so far; durability 'spool' "
                "keeps them on the disk", self.hot.capacity, dropped
            )  # fmt: skip
        self._dropped_said = dropped

    def _learn_with(self, settings: Settings) -> None:
        """Adopt the settings of the space, for the next version and for loop A."""
        self._config = applied(self._config, settings)
        self.held.learn_with(self._config)

    def _heartbeat(self) -> int:
        """Send a heartbeat; return the live version."""
        return self.member.heartbeat(self.space, self.serving.version)

    def _read(self, live: int | None) -> ServedVersion:
        """Return the live version: from the learner cache if it was made here, else from the store."""
        cache = self._background.cache
        if cache is None or cache.version != live or cache.cycle_id != self.database.cycle_of(self.space, live):
            # Another server has made this version: this learner made none, or did not commit it.
            read = self.database.snapshot(self.space, self._background.catalog, live)
            self._learn_with(read.settings)
            self._background.catalog = read.catalog  # one copy, shared by server and learner
            return ServedVersion.of(read, self.hot.dim, self._config)
        if self._background.config != self._config:  # settings that were changed elsewhere
            self._config = self._background.config
            self.held.learn_with(self._config)
        return ServedVersion.of(_snapshot_of(cache), self.hot.dim, self._config)

    def _keep_version(self, *, now: bool = False) -> None:
        if self.runtime.embedded is None and self._space is not None:
            self.held.keep(self._space, self.ranker.retired.ids, now=now)

    def _settled(self) -> Settled:
        """Return the candidates given to this server that are no longer being written."""
        remembered = self.ranker.overlay.remembered()
        return remembered if self.writer.candidates_settled else {}

    def _learned(self, ids: NDArray[np.uint8], version: int) -> Collection[bytes]:
        """Return which of the trajectories ``ids`` (n, 16) a version has learned from.

        After an erasure what the ledger lacks counts as learned: it is erased, or on its way and learned by a cycle.
        """
        erased = self.database.erasures.any_between(self.space, self.serving.version, version)
        self._feed.leave_to(self.space, version, lambda: erased or self.writer.waiting == 0, erased)
        learned = self.database.learned_of(self.space, ids, version)
        return learned | self.database.missing_of(self.space, ids) if erased else learned

    def _keep(
        self, ids: Sequence[str], embeddings: NDArray[Any], *, wait: bool = False, order: GroupOrder | None = None
    ) -> bool:
        return self.writer.enqueue_candidates(ids, embeddings, wait=wait, order=order)

    def _keep_set(self, set_id: int, ids: Sequence[str]) -> bool:
        return self.writer.enqueue_candidate_set(set_id, ids)


def _snapshot_of(cache: LearnerCache) -> Snapshot:
    """Return the snapshot that reading the version from the store would return."""
    known = cache.knowledge
    return Snapshot(cache.version, known.state, list(known.patterns), cache.catalog.bare())
