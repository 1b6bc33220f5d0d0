"""Opening a space: at once, or without its database and completed later."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sona_pg.config import Environment, Migrate, SonaConfig
from sona_pg.engine.current_space import CurrentSpace
from sona_pg.engine.process_runtime import ProcessRuntime, replica_of, runtimes
from sona_pg.errors import DatabaseError, DatabaseUnavailable, SonaError, UnknownSpace
from sona_pg.ingest.outage import Outage
from sona_pg.ingest.writer_request import WriterRequest
from sona_pg.recorder import HotPath
from sona_pg.store.arrival import Arrival
from sona_pg.store.spaces import require_name

log = logging.getLogger(__name__)


class OpenRequest(NamedTuple):
    """Request to open a space."""

    url: str | None  # None: SONA_PG_URL, else the embedded server
    space: str
    create: bool  # whether to create a missing space
    migrate: Migrate | None  # None: as SONA_PG_MIGRATE says
    require_database: bool  # to answer now; otherwise the engine is opened without it
    read_url: str | None = None  # a standby for search and analytics; None: SONA_PG_READ_URL


def _taken(wanted: OpenRequest, environment: Environment) -> ProcessRuntime:
    replica = replica_of(environment, wanted.read_url)
    return runtimes.take(wanted.url or environment.url, environment.home, replica=replica)


@contextmanager
def dimension_of(wanted: OpenRequest, default: int) -> Iterator[int]:
    """Yield the dimension of the space ``wanted``; ``default`` where there is none, or the database does not answer.

    The runtime is kept until the block ends, so that opening the space in it connects only once.

    Raises:
        InvalidValue: the name cannot be used.
        DatabaseError: the database refuses, or does not answer although it must.
    """
    environment = Environment.read()
    runtime = _taken(wanted, environment)
    try:
        found = default
        must = wanted.require_database or runtime.embedded is not None
        if must or runtime.outage.problem is None:
            try:
                runtime.prepare(wanted.migrate or environment.migrate)
                require_name(wanted.space)
                found = runtime.database.find_space(wanted.space).dim
            except UnknownSpace:
                found = default
            except DatabaseUnavailable as exc:
                if must:
                    raise
                runtime.outage.note(exc)
        yield found
    finally:
        runtimes.release(runtime)


class OpenedSpace(CurrentSpace):
    """A space opened for a recorder: registered, served, written to and learned from."""

    def __init__(self, hot: HotPath, config: SonaConfig, wanted: OpenRequest) -> None:
        """Open the space ``wanted`` for the recorder ``hot``; raises as ``SonaEngine`` does."""
        environment = Environment.read()
        self._wishes = config
        self._wanted = wanted
        self._migrate = wanted.migrate or environment.migrate
        runtime = _taken(wanted, environment)
        try:
            super().__init__(hot, config, wanted.space, runtime)
            self._open()
        except BaseException:
            runtimes.release(runtime)
            raise

    def _open(self) -> None:
        runtime = self.runtime
        must = self._wanted.require_database or runtime.embedded is not None
        away = None if must else runtime.outage.problem
        try:
            arrived = self._find_space() if away is None else None
        except DatabaseUnavailable as exc:
            if must:
                raise
            runtime.outage.note(exc)
            arrived, away = None, exc
        if arrived is not None:
            self._attach(arrived)
        elif away is not None:
            self._open_without_database(away)
        self.hot.name_sets(self.ranker.shown)
        self.hot.keep_judged(self.evidence.news if self._config.loops.recent else None)
        runtime.maintainer.add(self._config.maintenance)
        runtime.follower.join(self)

    def _find_space(self) -> Arrival:
        """Return the state of the space, with the schema in order and this server registered."""
        self.runtime.prepare(self._migrate)
        return self.member.join(self._wanted.space, self._wishes, create=self._wanted.create)

    def _attach(self, arrived: Arrival) -> None:
        """Serve the live version of the space, and start to write into it."""
        space = arrived.space
        self._learn_with(space.settings)
        self.own_embedder.adopt(arrived.embedder_probe)
        self._coordinator = self.runtime.learner.coordinator(space, self.server_id, self._config)
        self._space, self.made_at = space, arrived.made_at
        try:
            if arrived.live_version == 0:
                self.held.serve_nothing(arrived.age)
            else:
                self.held.serve_first(self._read, lambda: self.database.live_version(space))
                self.uses.read(space, self.serving)
            self._candidates.share(space, self.serving, {}, arrived.signal)
            if arrived.newest is not None:
                self._read_evidence(arrived.newest)
            self._begin_writing(arrived)
            if self.spending.follow(arrived.budget, arrived.at):
                self.spending.share(arrived.at)
                self.runtime.follower.pace(self)
        except BaseException:
            self._space = self.made_at = None
            raise
        if self._coordinator.automatic:
            self.runtime.learner.add(self._coordinator, lambda _: self.refresh())
            self.runtime.learner.start()

    def _read_evidence(self, newest: int) -> None:
        """Read the judged queries that no version has learned, for the first answers to weigh."""
        try:
            self._feed.keep_up(self.space, self.serving.version, newest)
        except DatabaseError as exc:
            log.warning("recent evidence is read with the first poll: %s", exc)

    def _begin_writing(self, arrived: Arrival) -> None:
        space = arrived.space
        request = WriterRequest(
            space_id=space.space_id,
            server_id=self.server_id,
            space_name=space.name,
            made_at=arrived.made_at,
            config=self._config.ingest,
            home=self.runtime.home,
            on_batch=self.held.learn_at_once,
            pending=self._pending,
        )
        if self._away is None:
            self.writer = self.runtime.writers.open(self.hot, request)
            return
        outage = self.writer
        assert isinstance(outage, Outage)
        with outage.taken_over() as extras:
            request = dataclasses.replace(request, source=outage.source, extras=extras)
            writer = self.runtime.writers.open(self.hot, request)
            outage.succeeded_by(writer)
        self.writer = writer

    def _open_without_database(self, exc: DatabaseUnavailable) -> None:
        """Record, and serve the last version known on this machine, until the database answers."""
        self._away = exc
        kept = self.held.serve_kept()
        if kept is not None:
            self.ranker.retired.ids = kept.retired
        self.writer = Outage(self.hot, self._config.ingest, self._pending, str(exc))
        self.runtime.outage.warn(
            "opened without the database, serving %s; what is recorded waits (durability %r) and is written once it "
            "answers: %s",
            f"version {self.serving.version} as this machine knew it" if kept is not None else "nothing learned",
            self._config.ingest.durability,
            exc,
        )

    def attach_late(self) -> None:
        """Complete an opening without the database, once."""
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
        self.runtime.outage.warn("the database answers: the records of the outage are being written")
