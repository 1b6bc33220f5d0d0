"""Rebuild: repeat every cycle from the ledger, and compare the result with the live version, or publish it.

Each cycle runs on the batches it claimed, with the ledger (without feedback of later cycles) and the settings of its
time. On the same instruction set the result equals the live state exactly. It differs if the ledger has changed since:
trajectories were deleted, to unlearn a user's data or by retention, or candidates got other embeddings. It may differ
if another release has learned some of the versions: the result names those releases.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sona_pg._version import __version__
from sona_pg.config import SonaConfig
from sona_pg.config.space_settings import applied
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.cycle import PastCycle, RebuildResult
from sona_pg.domain.ids import uuid7
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.space import Space
from sona_pg.domain.state import FisherSnapshot, LoraWeights
from sona_pg.errors import DamagedVersion
from sona_pg.learning.graph.deep_round import Extent
from sona_pg.learning.graph.deep_step import deepen, position_of
from sona_pg.learning.knowledge import Knowledge, Stored
from sona_pg.learning.relearning import rows_relearned
from sona_pg.learning.step import learn, named_sets, replay_ids
from sona_pg.store.database import Database
from sona_pg.store.unit import LearningUnit
from sona_pg.worker.step_input import kinds_at, order_for, relearned_of
from sona_pg.worker.threads import one_thread

UNRECORDED = "before 0.1.0"  # release of a cycle that has none recorded

log = logging.getLogger(__name__)


def rebuild(
    database: Database,
    space: Space,
    config: SonaConfig,
    *,
    publish: bool = False,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> RebuildResult:
    """Learn a space again from version 0. Learners of the space wait meanwhile, recorders and readers do not.

    Args:
        database: the store.
        space: the space to rebuild.
        config: settings of this process; learning settings are the space's at each version.
        publish: make the result the live version if it differs; a damaged live version differs in all parts.
        progress: called with the number of cycles done and of all.
    """
    clock = time.perf_counter()
    with database.learning_unit(space, uuid7()) as unit:
        assert unit is not None
        past = unit.past_cycles()
        first = applied(config, unit.settings_at(past[0].version if past else unit.next_version))
        live = _live(unit, Knowledge.initial(space.dim, first))
        candidates = unit.candidates()
        catalog = candidates
        known = Knowledge.initial(space.dim, first)
        trajectories = 0
        for done, cycle in enumerate(past):
            progress(done, len(past))
            count = len(candidates) if cycle.candidates is None else cycle.candidates
            if count != len(catalog):
                catalog = candidates.first(count)
            known, read = _again(unit, cycle, known, catalog, applied(config, unit.settings_at(cycle.version)))
            trajectories += read
        progress(len(past), len(past))
        found = differences(known, live or known, in_all=live is None)
        published = publish and bool(found)
        version = unit.live_version
        if published:
            version = unit.next_version
            made = dataclasses.replace(
                known.state, version=version, parent=unit.live_version, cycle_id=uuid7(), metrics={"rebuilt": 1.0}
            )
            unit.republish(made, known.patterns, known.fisher)
    milliseconds = round((time.perf_counter() - clock) * 1000, 3)
    others = _other_releases(past)
    if found and others:
        log.warning(
            "space %r: the rebuilt state differs, and releases %s have learned some of its versions, whose mathematics "
            "may differ from that of %s",
            space.name,
            ", ".join(others),
            __version__,
        )
    return RebuildResult(version, len(past), trajectories, tuple(found), published, milliseconds, others)


def _other_releases(past: Sequence[PastCycle]) -> tuple[str, ...]:
    """Return the releases that have learned in the space, without this one, in order of first use."""
    learned_by = (cycle.release or UNRECORDED for cycle in past if not cycle.loaded)
    return tuple(name for name in dict.fromkeys(learned_by) if name != __version__)


def _live(unit: LearningUnit, nothing: Knowledge) -> Knowledge | None:
    """Return the knowledge of the live version, ``nothing`` for version 0, None for a damaged one."""
    try:
        learned = unit.learned()
    except DamagedVersion as exc:
        log.warning("the live version differs from its ledger in everything: %s", exc)
        return None
    return nothing if learned is None else Knowledge(learned.state, learned.patterns, learned.fisher)


def _again(
    unit: LearningUnit, cycle: PastCycle, before: Knowledge, catalog: Catalog, config: SonaConfig
) -> tuple[Knowledge, int]:
    """Return the knowledge after ``cycle``, and the number of trajectories read."""
    if cycle.loaded:
        loaded = unit.loaded(cycle.version)
        return Knowledge(loaded.state, loaded.patterns, loaded.fisher), 0
    if cycle.deep is not None:
        extent = Extent(position_of(before.state), cycle.deep.units)
        with one_thread():
            return deepen(before, catalog, config, cycle.version, cycle.deep.at, extent).knowledge, 0
    claimed = unit.claimed_by(cycle)
    if not len(claimed.fresh) and not len(claimed.revised):
        return before, 0  # all its trajectories are deleted: as if it had not run
    replay, outcomes = unit.stored_then(replay_ids(before.state, config), cycle)
    rows = rows_relearned(before.state, claimed, replay, config, cycle.version)
    relearned = None if rows is None else relearned_of(unit, replay, outcomes, rows)
    sets = unit.candidate_sets(named_sets(claimed, replay))
    stored = Stored(replay, outcomes, catalog, sets, kinds_at(unit, cycle.version), relearned, order_for(unit, claimed))
    with one_thread():
        return learn(before, claimed, stored, config, cycle.version).knowledge, len(claimed.fresh)


def differences(rebuilt: Knowledge, live: Knowledge, *, in_all: bool = False) -> list[str]:
    """Return the names of the parts that are not bit-identical in two states; ``in_all``: of all parts."""
    found = []
    pairs: list[tuple[str, Any, Any]] = [
        ("micro adapter", _lora(rebuilt.state.micro), _lora(live.state.micro)),
        ("base adapters", [_lora(x) for x in rebuilt.state.base], [_lora(x) for x in live.state.base]),
        ("routes", dict(rebuilt.state.routes), dict(live.state.routes)),
        ("patterns", [_pattern(x) for x in rebuilt.patterns], [_pattern(x) for x in live.patterns]),
        ("protected tasks", [_fisher(x) for x in rebuilt.fisher], [_fisher(x) for x in live.fisher]),
    ]
    parts = sorted({*rebuilt.state.arrays, *live.state.arrays})
    pairs += [(part, rebuilt.state.arrays.get(part), live.state.arrays.get(part)) for part in parts]
    for name, ours, theirs in pairs:
        if in_all or not _same(ours, theirs):
            found.append(name)
    return found


def _lora(weights: LoraWeights) -> tuple[Any, ...]:
    return weights.a, weights.b, weights.scale


def _fisher(snapshot: FisherSnapshot) -> tuple[Any, ...]:
    return snapshot.task, snapshot.layer, snapshot.kind, snapshot.fisher, snapshot.optimum


def _pattern(pattern: LearnedPattern) -> dict[str, Any]:
    return {field.name: getattr(pattern, field.name) for field in dataclasses.fields(pattern)}


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, np.ndarray) or isinstance(theirs, np.ndarray):
        return np.shape(ours) == np.shape(theirs) and np.array_equal(ours, theirs, equal_nan=_has_nan(ours))
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return ours.keys() == theirs.keys() and all(_same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, Sequence) and isinstance(theirs, Sequence) and not isinstance(ours, str):
        return len(ours) == len(theirs) and all(map(_same, ours, theirs))
    return bool(ours == theirs)


def _has_nan(values: Any) -> bool:
    return np.asarray(values).dtype.kind == "f"
