"""Interface of the store: one object per database, no SQL in its signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from sona_pg.config import MaintenanceConfig, Migrate
from sona_pg.domain.answer import SearchResult
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.cycle import DeepSchedule, LearningSchedule
from sona_pg.domain.judged import JudgedQuery
from sona_pg.domain.ledger_slice import Steps, Trajectories
from sona_pg.domain.pattern import PatternUse
from sona_pg.domain.pulse import Pulse
from sona_pg.domain.space import Space
from sona_pg.domain.state import LearnedState
from sona_pg.errors import DatabaseUnavailable, SpaceRemoved
from sona_pg.store import (
    candidates,
    claims,
    cycles,
    embedder_probes,
    fleet,
    judged_rows,
    kind_weights,
    leases,
    pattern_uses,
    roll_call,
    search,
    states,
)
from sona_pg.store.admin import migrate, node_index, summaries
from sona_pg.store.admin.maintenance import Maintenance
from sona_pg.store.claims import Limit
from sona_pg.store.connect import connect, driver_connection, translated
from sona_pg.store.content_rows import ContentStore
from sona_pg.store.deadlines import deadlines
from sona_pg.store.decisions import LoggedDecisions, not_learned_by, read_decisions
from sona_pg.store.erasure_store import ErasureStore
from sona_pg.store.export_rows import ExportStore
from sona_pg.store.gate_store import GateStore
from sona_pg.store.imported_ids import ImportedIdStore
from sona_pg.store.key_store import KeyStore
from sona_pg.store.learned import StoredKnowledge, read_learned, read_state
from sona_pg.store.overview_store import OverviewStore
from sona_pg.store.pulse_rows import read_pulse
from sona_pg.store.read_side import BesideReads, ReadReplica, ReadSide
from sona_pg.store.retirement_store import RetirementStore
from sona_pg.store.search import SearchRequest
from sona_pg.store.set_aside_store import SetAsideStore
from sona_pg.store.shared_store import SharedStore
from sona_pg.store.snapshots import Snapshot, read_snapshot
from sona_pg.store.space_store import SpaceStore
from sona_pg.store.telemetry_store import TelemetryStore
from sona_pg.store.topic_names import TopicStore
from sona_pg.store.trajectory_rows import read_missing, read_seen, read_steps
from sona_pg.store.transactions import BRIEF, reading, snapshot, transaction
from sona_pg.store.unit import LearningUnit, learning_unit
from sona_pg.store.version_store import VersionStore

SEARCH_LIMIT = 60.0  # seconds: allows for an exact scan of millions of rows


class Database(SpaceStore):
    """A Postgres with schema ``sona``."""

    def __init__(
        self, engine: Engine, url: str, replica: ReadReplica | None = None, beside: ReadSide | None = None
    ) -> None:
        """Wrap an engine; ``open`` is the usual way. Search and analytics read from ``replica`` while it is well.

        ``beside``: the reads of a database with other connections, which looks whether it is.
        """
        super().__init__(engine)
        self.reads = ReadSide(engine, replica) if beside is None else BesideReads(engine, replica, beside)
        self._sealed = search.SealedWeeks()
        self.versions = VersionStore(engine)
        self.gates = GateStore(engine)
        self.shared = SharedStore(engine)
        self.keys = KeyStore(engine)
        self.set_aside = SetAsideStore(engine)
        self.erasures = ErasureStore(engine)
        self.exports = ExportStore(engine)
        self.imported_ids = ImportedIdStore(engine)
        self.contents = ContentStore(engine)
        self.retirements = RetirementStore(engine)
        self.telemetry = TelemetryStore(engine)
        self.overview = OverviewStore(self.reads)
        self.topics = TopicStore(engine, self.reads)
        self.url = url

    @classmethod
    def open(cls, url: str, migrate_schema: Migrate = "auto") -> Self:
        """Connect, and migrate an empty or older schema, or with ``"check"`` refuse it; see ``prepare``."""
        database = cls.at(url)
        database.prepare(migrate_schema)
        return database

    @classmethod
    def at(
        cls, url: str, connections: int | None = None, replica: ReadReplica | None = None, *, name: str = "sona-pg"
    ) -> Self:
        """Return the database at ``url`` without connecting to it; it opens ``connections`` at most, named ``name``."""
        bounded = {} if connections is None else {"pool_size": connections, "overflow": 0}
        engine = connect(url, name=name, **bounded)
        return cls(engine, url, replica)

    def beside(self, connections: int, replica: ReadReplica | None) -> Database:
        """Return the same database over at most ``connections`` others, of which it keeps one open."""
        engine = connect(self.url, pool_size=1, overflow=connections - 1)
        return Database(engine, self.url, replica, self.reads)

    def prepare(self, migrate_schema: Migrate = "auto") -> None:
        """Migrate an empty or older schema to this release, or with ``"check"`` refuse it; a later one may serve it.

        Raises:
            DatabaseUnavailable: nothing answers.
            DatabaseError: Postgres or pgvector is missing or too old.
            SchemaError: the schema is later and does not serve this release, or older and must not be migrated.
        """
        migrate.prepare(self.url, migrate_schema)

    def cut(self, thread: int | None = None) -> None:
        """End every running call with ``DatabaseUnavailable``; with ``thread`` only the calls of that thread."""
        deadlines.cut(self.engine, thread)

    def cancel(self) -> None:
        """Have the servers cancel every running statement, reads of the standby included, and end the calls."""
        for engine in self.reads.engines:
            deadlines.cancel(engine)

    def close(self) -> None:
        """Close all connections."""
        self.reads.close()
        self.engine.dispose()

    def now(self) -> datetime:
        """Return the time by the database's clock."""
        with reading(self.engine, "reading the clock", BRIEF) as connection:
            return leases.now(connection)

    def call_roll(self, look: roll_call.Look) -> roll_call.RollCall:
        """Check many spaces at once; see ``roll_call.call_roll``."""
        with reading(self.engine, "polling the spaces", BRIEF) as connection:
            return roll_call.call_roll(connection, look)

    def waiting_facts(self, spaces: roll_call.SpaceIds) -> dict[int, int]:
        """Return the number of unlearned facts by space; spaces without any are left out."""
        with reading(self.engine, "counting unlearned facts", BRIEF) as connection:
            return roll_call.waiting_facts(connection, spaces)

    def count_found(self, found: Mapping[int, Mapping[UUID, int]]) -> Mapping[int, Mapping[UUID, PatternUse]]:
        """Add how often patterns were found, by space; return their use since."""
        with reading(self.engine, "counting accesses of patterns", BRIEF) as connection:
            return pattern_uses.count(connection, found, leases.now(connection))

    def keep_kinds(self, space: Space, weights: bytes) -> None:
        """Keep the weights by which a space tells kinds of patterns, unless it has some."""
        with transaction(self.engine, "keeping the kinds of patterns", BRIEF) as connection:
            kind_weights.keep(connection, space.space_id, weights)

    def keep_embedder_probe(self, space: Space, probe: bytes) -> bytes:
        """Keep the probe of a space's embedder, unless it has one; return the one that it has now."""
        with transaction(self.engine, "keeping the embedder's probe", BRIEF) as connection:
            return embedder_probes.keep(connection, space, probe)

    def pattern_uses(self, space: Space) -> Mapping[UUID, PatternUse]:
        """Return when each pattern of a space was made, and how often and when it was found."""
        with reading(self.engine, "reading the use of patterns", BRIEF) as connection:
            return pattern_uses.read(connection, space.space_id)

    def snapshot(self, space: Space, known: Catalog | None = None, wanted: int | None = None) -> Snapshot:
        """Read a whole version of a space in one snapshot; candidates in ``known`` are not read again.

        That is the live version, unless ``wanted`` is a candidate that some servers serve.
        """
        with snapshot(self.engine, "reading the live version") as connection:
            return read_snapshot(connection, space.space_id, space.dim, known, wanted)

    def candidate_signal(self, space: Space) -> candidates.CandidateSignal:
        """Return a value that changes when candidates of the space are committed, or get slots."""
        with reading(self.engine, "looking for candidates", BRIEF) as connection:
            return candidates.signal(connection, space.space_id)

    def new_candidates(self, space: Space, slots: int) -> list[str]:
        """Return the ids of stored candidates outside a catalog of ``slots`` candidates."""
        with reading(self.engine, "reading new candidates") as connection:
            return candidates.read_new(connection, space.space_id, slots)

    def named_candidates(self, space: Space, ids: Sequence[str]) -> Catalog:
        """Return those of ``ids`` that are stored, in any order, with their embeddings."""
        with reading(self.engine, "reading new candidates") as connection:
            return candidates.read_named(connection, space.space_id, space.dim, ids)

    def changed_candidates(self, space: Space, since: datetime | None) -> Catalog:
        """Return the stored candidates whose embedding or group was changed since then, or a little before; or ever."""
        with reading(self.engine, "reading changed candidates") as connection:
            return candidates.read_changed(connection, space.space_id, space.dim, since)

    def candidate_order(self, space: Space) -> list[tuple[str, str, int]]:
        """Return id, group and position of every candidate in a group, by group and position."""
        with reading(self.engine, "reading the order of candidates") as connection:
            return candidates.read_order(connection, space.space_id)

    def learning_unit(
        self, space: Space, server_id: UUID, *, wait: bool = True
    ) -> AbstractContextManager[LearningUnit | None]:
        """Hold the learner's lease of a space; without ``wait``, yield None while another learner holds it."""
        return learning_unit(self.engine, space, server_id, wait=wait)

    def learned(self, space: Space) -> StoredKnowledge | None:
        """Return the knowledge of the live version with its Fisher information; None before anything was learned."""
        with snapshot(self.engine, "reading the live version") as connection:
            version = fleet.live_version(connection, space.space_id)
            return read_learned(connection, space.space_id) if version else None

    def newest_waiting(self, space: Space) -> Limit | None:
        """Return the newest batch that no cycle has learned from, if any waits."""
        with reading(self.engine, "counting unlearned facts", BRIEF) as connection:
            return claims.newest_waiting(connection, space.space_id)

    def schedule(self, space: Space, loop: str) -> LearningSchedule:
        """Return the facts that decide whether a cycle of ``loop`` is due."""
        with reading(self.engine, "counting unlearned facts", BRIEF) as connection:
            found = cycles.schedules(connection, [space.space_id], loop)
        if not found:
            raise SpaceRemoved(space.name)
        return found[space.space_id]

    def schedules(self, spaces: Sequence[int]) -> dict[int, LearningSchedule]:
        """Return the facts that decide whether a cycle of loop B is due, by space; missing spaces are left out."""
        with reading(self.engine, "counting unlearned facts", BRIEF) as connection:
            return cycles.schedules(connection, spaces, "background")

    def deep_schedules(self, spaces: roll_call.SpaceIds) -> dict[int, DeepSchedule]:
        """Return the facts that decide whether a cycle of loop C is due, by space that has learned anything."""
        with reading(self.engine, "looking for due deep cycles", BRIEF) as connection:
            return cycles.deep_schedules(connection, spaces)

    def totals(self, space: Space) -> dict[str, int]:
        """Return the lifetime counters of a space over all its servers, and its number of unlearned facts."""
        with reading(self.engine, "reading counters", BRIEF) as connection:
            counted = fleet.totals(connection, space.space_id)
            if counted is None:
                raise SpaceRemoved(space.name)
            counted["waiting"] = claims.waiting_count(connection, space.space_id)
            return counted

    def decisions(self, space: Space, limit: int) -> LoggedDecisions:
        """Return the newest ``limit`` logged decisions of a space, from one snapshot."""

        def read(engine: Engine) -> LoggedDecisions:
            with snapshot(engine, "reading the decisions") as connection:
                return read_decisions(connection, space.space_id, space.dim, limit)

        return self.reads.run(read)

    def not_learned_by(self, space: Space, version: int, stored: Trajectories) -> NDArray[np.bool_]:
        """Return (n,) flags of the decisions ``stored`` that a version had not learned from."""
        with reading(self.engine, "reading a version's decisions") as connection:
            return not_learned_by(connection, space.space_id, version, stored)

    def learned_of(self, space: Space, ids: NDArray[np.uint8], version: int) -> frozenset[bytes]:
        """Return the trajectories among ``ids`` (n, 16) that a version has learned from."""
        if not len(ids):
            return frozenset()
        with reading(self.engine, "reading a version's trajectories", BRIEF) as connection:
            return read_seen(connection, space.space_id, ids, claims.as_of(space.space_id, version))

    def missing_of(self, space: Space, ids: NDArray[np.uint8]) -> frozenset[bytes]:
        """Return the trajectories among ``ids`` (n, 16) that are not in the ledger."""
        if not len(ids):
            return frozenset()
        with reading(self.engine, "looking for erased trajectories", BRIEF) as connection:
            return read_missing(connection, space.space_id, ids)

    def steps_of(self, space: Space, ids: NDArray[np.uint8]) -> Steps:
        """Return the steps of the trajectories ``ids`` (n, 16)."""
        with reading(self.engine, "reading steps") as connection:
            return read_steps(connection, space.space_id, ids, space.dim)

    def waiting_batches(self, space: Space) -> judged_rows.Waiting:
        """Return the newest batches that no cycle has learned from; see ``judged_rows.waiting_batches``."""
        with reading(self.engine, "looking for unlearned batches", BRIEF) as connection:
            return judged_rows.waiting_batches(connection, space.space_id)

    def judged(
        self, space: Space, version: int, batches: Sequence[int], most: int, ids: NDArray[np.uint8] | None = None
    ) -> list[JudgedQuery]:
        """Return the judged queries of some batches, and those of ``ids`` (n, 16); see ``judged_rows.read_judged``."""
        asked = np.zeros((0, 16), np.uint8) if ids is None else ids
        if not len(batches) and not len(asked):
            return []
        with reading(self.engine, "reading judged queries", BRIEF) as connection:
            return judged_rows.read_judged(connection, space.space_id, space.dim, version, batches, asked, most)

    def load_version(self, space: Space, version: int) -> LearnedState:
        """Return a version of a space as it was published; DatabaseError if there is none."""
        with reading(self.engine, f"reading version {version}") as connection:
            return read_state(connection, space.space_id, version)

    def live_version(self, space: Space) -> int:
        """Return the version that servers should serve."""
        with reading(self.engine, "reading the live version", BRIEF) as connection:
            return fleet.live_version(connection, space.space_id)

    def cycle_of(self, space: Space, version: int) -> UUID | None:
        """Return the cycle that made a version of a space."""
        with reading(self.engine, f"reading version {version}", BRIEF) as connection:
            return states.cycle_of(connection, space.space_id, version)

    def pulse(self, space: Space) -> Pulse:
        """Return the few figures that tell whether a space records, learns and serves."""
        with reading(self.engine, "taking the pulse", BRIEF) as connection:
            return read_pulse(connection, space)

    def waiting_feedback(self, space: Space) -> dict[str, Any]:
        """Return the number of facts without a trajectory, and when the oldest was recorded.

        Reads all feedback of the space: about a second for a million facts.
        """

        def read(engine: Engine) -> dict[str, Any]:
            with reading(engine, "reading feedback that waits") as connection:
                return fleet.waiting_feedback(connection, space.space_id)

        return self.reads.run(read)

    def search(
        self,
        space: Space,
        query: NDArray[np.float32],
        k: int,
        *,
        route: str | None = None,
        min_quality: float | None = None,
        since: datetime | None = None,
        exact: bool = False,
    ) -> SearchResult:
        """Return the ``k`` stored trajectories of the space nearest to ``query`` (dim,), not all 0.

        Raises:
            DatabaseUnavailable: Postgres is away, or partitions were dropped repeatedly; the same call may succeed
                later.
        """
        wanted = SearchRequest(k, route, min_quality, since)
        return self.reads.run(lambda engine: self._search(engine, space, query, wanted, exact=exact))

    def _search(
        self, engine: Engine, space: Space, query: NDArray[np.float32], wanted: SearchRequest, *, exact: bool
    ) -> SearchResult:
        with translated("searching trajectories", engine.url):
            for _ in range(search.ATTEMPTS):
                try:
                    with engine.connect() as connection, deadlines.over(connection, SEARCH_LIMIT):
                        return search.search(connection, self._sealed, space, query, wanted, exact=exact)
                except (DBAPIError, psycopg.Error) as exc:
                    original = exc.orig if isinstance(exc, DBAPIError) else exc
                    if getattr(original, "sqlstate", None) not in search.VANISHED:
                        raise
                    self._sealed.forget()
        raise DatabaseUnavailable("searching trajectories: partitions are being dropped just now; search again")

    def sample(self, space: Space, n: int, seed: int) -> list[NDArray[np.float32]]:
        """Return the embeddings of about ``n`` stored trajectories of a space."""

        def read(engine: Engine) -> list[NDArray[np.float32]]:
            with reading(engine, "sampling trajectories") as connection:
                return search.sample(connection, space, n, seed)

        return self.reads.run(read)

    def maintenance(self, policy: MaintenanceConfig) -> Maintenance:
        """Return a maintenance run of the whole database, not started yet."""
        return Maintenance(self.engine, policy)

    def sum_up(self) -> list[summaries.SummedDay]:
        """Compute the daily figures that are due in all spaces; another process at work is left to it."""
        with reading(self.engine, "computing daily figures") as connection:
            return list(summaries.sum_up(driver_connection(connection)))

    def index_nodes(self) -> list[node_index.IndexedNodes]:
        """Add new and moved nodes of the memory graph to their index, in all spaces."""
        with reading(self.engine, "indexing nodes of the memory graph") as connection:
            return list(node_index.add_waiting(driver_connection(connection)))

    def read_view(self, view: str, space: Space, limit: int) -> list[dict[str, Any]]:
        """Return rows of one of the analytics views for a space."""
        return self.overview.view(view, space, limit)
