"""One step of learning, as a pure function from knowledge and a slice of the ledger to the next knowledge.

It composes the learners and knows neither clock nor store, so the same slice, knowledge and seed always give the same
result, on which ``rebuild`` depends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import PatternConfig, SonaConfig
from sona_pg.domain.ledger_slice import LedgerSlice, Outcome, Trajectories
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import Arrays, FisherSnapshot, LearnedState
from sona_pg.domain.verdict import Verdict
from sona_pg.learning.adapters.ewc_kronecker import lasting
from sona_pg.learning.adapting import Adapted, Told, adapt, stratified, told_of
from sona_pg.learning.beside import beside
from sona_pg.learning.graph.graph_step import learn_graph
from sona_pg.learning.graph.mixing_step import learn_mixing
from sona_pg.learning.knowledge import Knowledge, Stored, ranker_of, reservoir_of, router_of, seed_of
from sona_pg.learning.patterns import extraction
from sona_pg.learning.patterns.pattern_revision import Counted, home_of, revise, unrated
from sona_pg.learning.patterns.tally import Observations
from sona_pg.learning.patterns.verdicts import judge
from sona_pg.learning.ranking.ranking_step import fold_ranking, learn_ranking
from sona_pg.learning.relearning import count_changed, relearned_from
from sona_pg.learning.replay import Reservoir, sortable
from sona_pg.learning.routing.learned_router import Judged, Router
from sona_pg.learning.routing.route_totals import updated_routes
from sona_pg.learning.vectors import unit

WORTH_THREADS = 1000  # trajectories of a step; the thread of a smaller one costs more than it saves
OF_LOOP_C = ("deep",)  # parts of the state that stay as loop C has made them
MAX_SAMPLE = 4096  # most replayed trajectories for all learners but the ranker


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The knowledge after a step, and its changes."""

    knowledge: Knowledge
    removed: Sequence[UUID]  # removed patterns
    new_fisher: Sequence[FisherSnapshot]
    faded: Sequence[FisherSnapshot]  # of earlier tasks without effect
    created: int
    merged: int
    pruned: int


def replay_ids(state: LearnedState, config: SonaConfig) -> NDArray[np.uint8]:
    """Return the ids (n, 16) of the trajectories that a step from ``state`` replays."""
    return reservoir_of(state, config).replayed


def named_sets(claimed: LedgerSlice, stored: Trajectories) -> list[int]:
    """Return the candidate sets named by a slice and its replay."""
    named = [claimed.fresh.candidate_sets, claimed.revised.candidate_sets, stored.candidate_sets]
    return [int(value) for value in np.unique(np.concatenate(named)) if value]


def learn(
    before: Knowledge,
    claimed: LedgerSlice,
    stored: Stored,
    config: SonaConfig,
    version: int,
) -> Step:
    """Return the knowledge of ``version``: every fact of the slice folded in exactly once.

    Args:
        before: the knowledge of the live version.
        claimed: new trajectories, and earlier ones whose feedback has changed.
        stored: the trajectories of ``replay_ids``; all learners but the ranker read the uniform sample alone.
        config: of the space.
        version: the number of the version being made; with the configured seed it fixes every random draw.
    """
    before = before.grown_to(config)
    state = before.state
    seed = seed_of(config, version)
    reservoir = reservoir_of(state, config)
    uniform = _uniform(stored, reservoir)
    sample = _sample(uniform, seed)
    left = reservoir.withdraw(_taken_back(claimed)).offer(_newly_rated(claimed), seed, version)
    left = left.after_turning(0 if stored.relearned is not None else reservoir.turned + count_changed(claimed))
    left = left.keeping(*_corrected(claimed, stored))
    forgotten = bool(reservoir.seen) and not left.seen
    told = told_of(claimed, uniform)
    replay = stratified(claimed, stored, reservoir) if reservoir.is_stratified else told.replay
    _ = stored.catalog.embeddings[:0]  # are converted once, not by two threads
    many = len(claimed.fresh) + len(claimed.revised) + len(stored.trajectories) >= WORTH_THREADS
    with beside(many) as start_beside:
        learning = start_beside(lambda: _learn_apart(before, claimed, stored, sample, told, config, version))
        extracting = start_beside(lambda: _learn_patterns(before, claimed, sample, config, version))
        ranker = learn_ranking(ranker_of(state), stored.catalog, told.folded, replay, seed)
        found = extracting()
        router, start, adapted = learning()
    adapters = adapted.step
    fisher = [*(start.fisher if start is not before else ()), *adapters.fisher]
    patterns = [unrated(pattern) for pattern in found.patterns] if forgotten else found.patterns
    routes, latencies = updated_routes(state, claimed, version)
    arrays: dict[str, Arrays] = {
        **{part: state.arrays[part] for part in OF_LOOP_C if part in state.arrays},
        **learn_graph(state, claimed, found.patterns, stored.catalog, stored.sets, config.graph, version),
        **_mixing(before, claimed, stored, config),
        **adapters.arrays,
        "router": router.to_arrays(),
        "ranker": ranker.to_arrays(),
        "replay": left.to_arrays(),
        "baseline": adapted.baseline.to_arrays(),
        **latencies,
    }
    next_state = LearnedState(
        version=version,
        parent=state.version,
        micro=adapters.micro,
        base=adapters.base,
        routes=routes,
        arrays=_as_stored(arrays),
        metrics={
            "samples": float(adapters.samples),
            "shift": float(adapters.shift),
            "ewc_lambda": adapters.ewc_lambda,
        },
    )
    protected = [*before.fisher, *fisher]
    kept = lasting([*adapted.protected, *adapters.fisher], config.ewc.max_tasks)
    return Step(
        knowledge=Knowledge(next_state, patterns, kept),
        removed=found.removed,
        new_fisher=[snapshot for snapshot in fisher if snapshot in kept],
        faded=[snapshot for snapshot in protected if snapshot not in kept],
        created=found.created,
        merged=found.merged,
        pruned=found.pruned,
    )


def _mixing(before: Knowledge, claimed: LedgerSlice, stored: Stored, config: SonaConfig) -> dict[str, Arrays]:
    """Return the part ``mixing`` of the state, if there is one."""
    if not config.graph.nodes:
        return {}
    half_life, sets, order = config.graph.half_life, stored.sets, stored.order
    found = learn_mixing(before.state, before.patterns, claimed, stored.catalog, sets, order, half_life)
    return {} if found is None else {"mixing": found}


def _learn_patterns(
    before: Knowledge, claimed: LedgerSlice, sample: Stored, config: SonaConfig, version: int
) -> extraction.Extraction:
    """Return the patterns with the slice counted in, and every changed outcome revised."""
    found = extraction.extract(
        before.patterns,
        _observations(claimed.fresh, claimed.outcomes, config.patterns),
        config.patterns,
        seed=seed_of(config, version),
        version=version,
        stored=_observations(sample.trajectories, _as_counted(sample, claimed), config.patterns),
        kinds=sample.kinds,
        each=reservoir_of(before.state, config).seen / max(len(sample.trajectories), 1),
    )
    return dataclasses.replace(found, patterns=_in_order(_revised(found.patterns, claimed, config.patterns, version)))


def _learn_apart(
    before: Knowledge,
    claimed: LedgerSlice,
    stored: Stored,
    sample: Stored,
    told: Told,
    config: SonaConfig,
    version: int,
) -> tuple[Router, Knowledge, Adapted]:
    """Return the router, and the adapters with the knowledge that they start from, which may be learned anew first."""
    seed = seed_of(config, version)
    ranker = fold_ranking(ranker_of(before.state), stored.catalog, told.folded)
    again = stored.relearned is not None
    start = relearned_from(before, stored, ranker, config) if again else before
    adapted = adapt(start, claimed, sample, told, ranker, config, seed, turn_back=not again)
    router = router_of(before.state, config).learn(
        Judged(claimed.fresh, claimed.outcomes),
        Judged(claimed.revised, claimed.after, reservoir_of(before.state, config).learned_in(claimed.revised.ids)),
        claimed.before,
        Judged(sample.trajectories, sample.outcomes),
        seed,
        version,
    )
    return router, start, adapted


def _observations(of: Trajectories, outcomes: Sequence[Outcome], config: PatternConfig) -> Observations:
    verdicts = _verdicts(of, outcomes, config)
    return Observations(unit(of.embeddings), _qualities(outcomes), of.routes, of.queries, verdicts, of.parameters)


def _verdicts(of: Trajectories, outcomes: Sequence[Outcome], config: PatternConfig) -> list[Verdict | None]:
    return [judge(outcome, lowest, config) for outcome, lowest in zip(outcomes, of.lowest_reward.tolist(), strict=True)]


def _as_counted(stored: Stored, claimed: LedgerSlice) -> Sequence[Outcome]:
    """Return the outcomes of the stored trajectories as counted in the patterns, before the slice's changes."""
    if not len(claimed.revised):
        return stored.outcomes
    before = dict(zip(claimed.revised.uuids(), claimed.before, strict=True))
    return [before.get(id_, outcome) for id_, outcome in zip(stored.trajectories.uuids(), stored.outcomes, strict=True)]


def _uniform(stored: Stored, reservoir: Reservoir) -> Stored:
    """Return the trajectories read again without the corrected ones outside of the uniform sample."""
    rows = np.flatnonzero(reservoir.sampled(stored.trajectories.ids))
    return stored if len(rows) == len(stored.trajectories) else _taken(stored, rows)


def _sample(stored: Stored, seed: int) -> Stored:
    """Return ``MAX_SAMPLE`` of the trajectories read again, drawn uniformly, in their order; all when they are few."""
    count = len(stored.trajectories)
    if count <= MAX_SAMPLE:
        return stored
    return _taken(stored, np.sort(np.random.default_rng(seed).choice(count, MAX_SAMPLE, replace=False)))


def _taken(stored: Stored, rows: NDArray[np.intp]) -> Stored:
    outcomes = [stored.outcomes[row] for row in rows]
    return dataclasses.replace(stored, trajectories=stored.trajectories.take(rows), outcomes=outcomes)


def _as_stored(arrays: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """Return the arrays in the layout of the store: the rounding of a product depends on it."""
    return {part: {name: np.asarray(value, order="C") for name, value in of.items()} for part, of in arrays.items()}


def _in_order(patterns: Sequence[LearnedPattern]) -> list[LearnedPattern]:
    """Return ``patterns`` in the order of the store, on which the next cycle depends."""
    return sorted(patterns, key=lambda pattern: (pattern.created_version, pattern.id))


def _revised(
    patterns: Sequence[LearnedPattern], claimed: LedgerSlice, config: PatternConfig, version: int
) -> list[LearnedPattern]:
    """Return the patterns with every changed outcome revised in the pattern that counts it."""
    revised = list(patterns)
    rows = claimed.revised
    if not revised or not len(rows):
        return revised
    similarities = unit(rows.embeddings) @ np.stack([pattern.centroid for pattern in revised]).T
    before, after = (_verdicts(rows, outcomes, config) for outcomes in (claimed.before, claimed.after))
    for row, route in enumerate(rows.routes):
        if not similarities[row].any():
            continue  # no direction: no pattern has ever counted it
        parameters = rows.parameters[row]
        old = Counted(route, claimed.before[row].quality, before[row], parameters)
        new = Counted(route, claimed.after[row].quality, after[row], parameters)
        place = home_of(revised, similarities[row], old)
        revised[place] = dataclasses.replace(revise(revised[place], old, new), updated_version=version)
    return revised


def _qualities(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    return np.array([np.nan if outcome.quality is None else outcome.quality for outcome in outcomes], np.float64)


def _newly_rated(claimed: LedgerSlice) -> NDArray[np.uint8]:
    """Return the ids (n, 16) of the trajectories whose quality became known with this slice."""
    fresh = [row for row, outcome in enumerate(claimed.outcomes) if outcome.quality is not None]
    late = [
        row
        for row, (before, after) in enumerate(zip(claimed.before, claimed.after, strict=True))
        if before.quality is None and after.quality is not None
    ]
    return np.concatenate([claimed.fresh.ids[fresh], claimed.revised.ids[late]])


def _corrected(claimed: LedgerSlice, stored: Stored) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the ids (n, 16) of replayed corrected trajectories that the slice leaves as they are, and of its own."""

    def told(outcomes: Sequence[Outcome]) -> NDArray[np.bool_]:
        return np.array([outcome.correction is not None for outcome in outcomes], np.bool_)

    ids = stored.trajectories.ids
    standing = told(stored.outcomes) & ~np.isin(sortable(ids), sortable(claimed.revised.ids))
    later = [claimed.fresh.ids[told(claimed.outcomes)], claimed.revised.ids[told(claimed.after)]]
    return ids[standing], np.concatenate(later)


def _taken_back(claimed: LedgerSlice) -> NDArray[np.uint8]:
    """Return the ids (n, 16) of the trajectories without a rating since this slice."""
    pairs = enumerate(zip(claimed.before, claimed.after, strict=True))
    return claimed.revised.ids[[row for row, (old, new) in pairs if old.quality is not None and new.quality is None]]
