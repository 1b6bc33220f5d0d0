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
from sona_pg.domain.cycle import PastCycle, RebuildResult
from sona_pg.domain.ids import uuid7
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.space import Space
from sona_pg.domain.state import FisherSnapshot, LoraWeights
from sona_pg.errors import DamagedVersion
from sona_pg.learning.knowledge import Knowledge
from sona_pg.store.database import Database
from sona_pg.store.unit import LearningUnit
from sona_pg.worker.past_learning import PastLearning

NAMED = ("micro adapter", "base adapters", "routes", "patterns", "protected tasks")  # parts beside the arrays
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
        relived = PastLearning(unit, space, config).run(0, progress)
        past, known = relived.cycles, relived.knowledge
        live = live_knowledge(unit, relived.initial)
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
    return RebuildResult(version, len(past), relived.trajectories, tuple(found), published, milliseconds, others)


def _other_releases(past: Sequence[PastCycle]) -> tuple[str, ...]:
    """Return the releases that have learned in the space, without this one, in order of first use."""
    learned_by = (cycle.release or UNRECORDED for cycle in past if not cycle.loaded)
    return tuple(name for name in dict.fromkeys(learned_by) if name != __version__)


def live_knowledge(unit: LearningUnit, nothing: Knowledge) -> Knowledge | None:
    """Return the knowledge of the live version, ``nothing`` for version 0, None for a damaged one."""
    try:
        learned = unit.learned()
    except DamagedVersion as exc:
        log.warning("the live version differs from its ledger in everything: %s", exc)
        return None
    return nothing if learned is None else Knowledge(learned.state, learned.patterns, learned.fisher)


def differences(rebuilt: Knowledge, live: Knowledge, *, in_all: bool = False) -> list[str]:
    """Return the names of the parts that are not bit-identical in two states; ``in_all``: of all parts."""
    found = []
    ours_by_part, theirs_by_part = parts_of(rebuilt), parts_of(live)
    for name in sorted({*ours_by_part, *theirs_by_part}, key=_place):
        if in_all or not _same(ours_by_part.get(name), theirs_by_part.get(name)):
            found.append(name)
    return found


def parts_of(known: Knowledge) -> dict[str, Any]:
    """Return the parts of knowledge that are compared, by name: all that a version serves or learns from."""
    return {
        "micro adapter": _lora(known.state.micro),
        "base adapters": [_lora(x) for x in known.state.base],
        "routes": dict(known.state.routes),
        "patterns": [_pattern(x) for x in known.patterns],
        "protected tasks": [_fisher(x) for x in known.fisher],
        **known.state.arrays,
    }


def _place(part: str) -> tuple[bool, int, str]:
    return part not in NAMED, NAMED.index(part) if part in NAMED else 0, part


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
