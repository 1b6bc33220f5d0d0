"""Loop C: dream over a space's memory graph, consolidate it, and publish a version to every server."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from uuid import UUID

from sona_pg.config import SonaConfig
from sona_pg.config.space_settings import applied
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.deep_result import DeepResult
from sona_pg.domain.ids import uuid7
from sona_pg.domain.memory import EdgeKind, NodeKind, days_of
from sona_pg.domain.space import Space
from sona_pg.domain.state import Arrays
from sona_pg.errors import DatabaseError, DatabaseUnavailable, LearningConflict
from sona_pg.learning.graph.deep_round import Extent, Position
from sona_pg.learning.graph.deep_step import DeepStep, deepen, position_of
from sona_pg.learning.graph.memory_graph import MemoryGraph
from sona_pg.learning.knowledge import Knowledge, graph_of
from sona_pg.standalone.dream_engine import DreamEngine
from sona_pg.store.database import Database
from sona_pg.store.unit import LearningUnit, Publication
from sona_pg.worker.threads import one_thread

log = logging.getLogger(__name__)

ATTEMPTS = 3  # for a cycle, if another learner publishes first

Progress = Callable[[int, int], object]  # called with the units of work done, and of the whole round


class DeepLoop:
    """Runs cycles of loop C for one space."""

    def __init__(self, database: Database, space: Space, server_id: UUID, config: SonaConfig) -> None:
        """Prepare; ``run_cycle`` works with the settings that the space has at that time."""
        self._database = database
        self._space = space
        self._server_id = server_id
        self._config = applied(config, space.settings)
        self._catalog: Catalog | None = None

    @property
    def dream_engine(self) -> DreamEngine:
        """The memory graph of the live version as a separate engine: dreams there do not affect the space."""
        learned = self._database.learned(self._space)
        graph = MemoryGraph.empty(self._space.dim)
        if learned is not None:
            graph = graph_of(learned.state).opened(learned.patterns, self._database.snapshot(self._space).catalog)
        now = days_of(self._database.now())
        return DreamEngine(
            self._space.dim, self._config.dreams, seed=self._config.loops.seed, graph=graph, now=now
        )  # fmt: skip

    def run_cycle(
        self,
        seconds: float | None = None,
        *,
        progress: Progress = lambda done, total: None,
        stop: threading.Event | None = None,
    ) -> DeepResult:
        """Run one cycle, or the part of it for which there is time.

        Waits for another learner of the space. Whatever ends the cycle early, what it did is published, and the next
        one goes on there.

        Args:
            seconds: at most; by default ``dreams.budget`` of the space.
            progress: called after each unit of work with the number of units done, and of all that are to be done.
            stop: ends the cycle early once it is set.

        Raises:
            DatabaseError: Postgres is away or refuses; nothing has changed.
            LearningConflict: other learners were faster each time; nothing has changed.
        """
        for _ in range(ATTEMPTS):
            try:
                with self._database.learning_unit(self._space, self._server_id) as unit:
                    assert unit is not None
                    return self._cycle(unit, seconds, progress, stop)
            except LearningConflict as exc:
                log.info("a deep cycle is run again: %s", exc)
        raise LearningConflict(
            f"space {self._space.name!r}: other learners were faster {ATTEMPTS} times; try again later"
        )

    def run_cycle_after(self, version: int, seconds: float, stop: threading.Event) -> DeepResult | None:
        """Run a part of a cycle, unless another learner holds the lease or has published since ``version``."""
        with self._database.learning_unit(self._space, self._server_id, wait=False) as unit:
            if unit is None or unit.live_version != version:
                return None
            try:
                return self._cycle(unit, seconds, lambda done, total: None, stop)
            except LearningConflict as exc:
                log.info("a deep cycle was in vain: %s", exc)
                return None

    def _cycle(
        self, unit: LearningUnit, seconds: float | None, progress: Progress, stop: threading.Event | None
    ) -> DeepResult:
        cycle_id = uuid7()
        try:
            return self._deepen(unit, cycle_id, seconds, progress, stop)
        except Exception as exc:
            if not isinstance(exc, LearningConflict | DatabaseUnavailable):
                self._note_failure(unit, cycle_id, exc)
            raise

    def _deepen(
        self,
        unit: LearningUnit,
        cycle_id: UUID,
        seconds: float | None,
        progress: Progress,
        stop: threading.Event | None,
    ) -> DeepResult:
        clock = time.perf_counter()
        self._config = applied(self._config, unit.settings)
        budget = self._config.dreams.budget if seconds is None else min(seconds, self._config.dreams.budget)
        learned = unit.learned()
        # A candidate that is being judged was made from the live version, and could not go live after another.
        held = self._config.gate.mode == "hold" and self._database.gates.is_holding(self._space)
        if learned is None or held:
            return _nothing_done(cycle_id, unit.live_version)
        before = Knowledge(learned.state, learned.patterns, learned.fisher)
        self._catalog = catalog = unit.candidates(self._catalog)
        now = days_of(unit.began)
        start = position_of(before.state)

        def is_over(units: int, total: int) -> bool:
            progress(units, total)
            return time.perf_counter() - clock >= budget or (stop is not None and stop.is_set())

        with one_thread():
            step = deepen(before, catalog, self._config, unit.next_version, now, Extent(start, stop=is_over))
        result = dataclasses.replace(
            result_of(step, cycle_id, unit.live_version, now, start),
            candidates=len(catalog.ids),
            milliseconds=round((time.perf_counter() - clock) * 1000, 3),
        )
        if not result.nodes and not result.tasks_folded:
            return dataclasses.replace(result, version=unit.live_version)
        made = Publication(
            state=dataclasses.replace(step.knowledge.state, cycle_id=cycle_id),
            patterns=step.knowledge.patterns,
            removed=(),
            fisher=step.new_fisher,
            faded=step.faded,
            set_aside=(),
            all_fisher=step.knowledge.fisher,
            graph_before=_without_vectors(before.state.arrays.get("graph")),
        )
        del step, before, learned  # embeddings of the graph before and after: 100 MB at 100,000 nodes
        unit.publish(self._server_id, made, (), result)
        return result

    def _note_failure(self, unit: LearningUnit, cycle_id: UUID, exc: Exception) -> None:
        error = f"{type(exc).__name__}: {exc}"
        try:
            unit.record_failure(self._server_id, _nothing_done(cycle_id, unit.live_version), error)
        except DatabaseError as unnoted:
            log.warning("that a deep cycle failed (%s) cannot be noted in sona.cycles: %s", error, unnoted)


def result_of(step: DeepStep, cycle_id: UUID, base_version: int, now: float, start: Position) -> DeepResult:
    """Return the counts of a deep step that began at ``start`` of a round."""
    rounded, graph = step.rounded, step.rounded.graph
    done = rounded.consolidated
    directed = sum(int((graph.edges.kind == kind).sum()) for kind in EdgeKind if kind.directed)
    return DeepResult(
        cycle_id=cycle_id,
        base_version=base_version,
        version=step.knowledge.state.version,
        patterns=len(step.knowledge.patterns),
        at=now,
        from_stage=start.stage,
        from_done=start.done,
        units=rounded.units,
        finished=rounded.finished,
        nodes=len(graph),
        edges=(len(graph.edges) - directed) // 2 + directed,
        linked=rounded.linked,
        dreams=rounded.dreams,
        best=tuple(dataclasses.asdict(dream) for dream in rounded.best),
        confirmed=rounded.confirmed,
        faded=rounded.faded,
        strengthened=done.strengthened,
        weakened=done.weakened,
        pruned=done.pruned,
        merged=done.merged,
        edges_removed=done.edges_removed,
        abstractions=int((graph.kinds == NodeKind.ABSTRACTION).sum()),
        communities=step.communities,
        tasks_folded=len(step.faded),
    )


def _without_vectors(graph: Arrays | None) -> Arrays | None:
    """Return the arrays that the live tables are compared by."""
    return None if graph is None else {name: values for name, values in graph.items() if name != "vectors"}


def _nothing_done(cycle_id: UUID, version: int) -> DeepResult:
    return DeepResult(cycle_id, version, version, 0)
