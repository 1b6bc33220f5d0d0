"""One step of learning, as a pure function: what is known, and a slice of the ledger, give what is known next.

It composes the learners and knows neither clock nor store, so the same slice, knowledge and seed always give
the same result: that is what ``rebuild`` rests on.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import PatternConfig, SonaConfig
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.ledger_slice import LedgerSlice, Outcome, Trajectories
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import Arrays, FisherSnapshot, LearnedState, LoraWeights
from sona_pg.domain.verdict import Verdict
from sona_pg.learning.adapters.adapter_step import AdapterStep, learn_adapters
from sona_pg.learning.adapters.baseline import Baseline
from sona_pg.learning.adapters.choices import Choices
from sona_pg.learning.adapters.ewc_kronecker import lasting
from sona_pg.learning.adapters.resizing import grown_snapshots, grown_state
from sona_pg.learning.adapters.reversal import ChangedReturns, Reversal
from sona_pg.learning.adapters.samples import Samples, directions_of
from sona_pg.learning.patterns import extraction
from sona_pg.learning.patterns.pattern_revision import Counted, home_of, revise, unrated
from sona_pg.learning.patterns.tally import Observations
from sona_pg.learning.patterns.verdicts import judge
from sona_pg.learning.ranking.ranker import RankerState
from sona_pg.learning.ranking.ranker_events import RankEvents
from sona_pg.learning.ranking.ranking_step import learn_ranking, rank_events
from sona_pg.learning.replay import Reservoir
from sona_pg.learning.routing.learned_router import Judged, Router
from sona_pg.learning.routing.route_totals import updated_routes
from sona_pg.learning.vectors import unit

MAX_CHOICES = 8192  # of one slice that the adapters learn from; the ranker learns from all
MAX_SAMPLE = 4096  # of what is read again that all but the ranker learn from
MIN_REPLAY = 256  # earlier choices beside a slice, however small


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """All that a space knows at one version."""

    state: LearnedState
    patterns: Sequence[LearnedPattern]
    fisher: Sequence[FisherSnapshot]

    @classmethod
    def initial(cls, dim: int, config: SonaConfig) -> Knowledge:
        """Return version 0: adapters that leave their input as it is, and no patterns."""
        return cls(initial_state(dim, config), [], [])

    def grown_to(self, config: SonaConfig) -> Knowledge:
        """Return the same knowledge in adapters of the ranks and layers that ``config`` asks for; nothing is cut."""
        state = grown_state(self.state, config)
        if state is self.state:
            return self
        return Knowledge(state, self.patterns, grown_snapshots(self.fisher, self.state.base[0], state.base[0]))


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Input of a cycle beside its slice: earlier trajectories with their outcomes now, and the candidates."""

    trajectories: Trajectories
    outcomes: Sequence[Outcome]
    catalog: Catalog
    sets: Mapping[int, Sequence[str]]  # the candidate sets that the slice and the trajectories name


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The knowledge after a step, and what changed."""

    knowledge: Knowledge
    removed: Sequence[UUID]  # patterns that are no more
    new_fisher: Sequence[FisherSnapshot]
    faded: Sequence[FisherSnapshot]  # of earlier tasks that hold nothing any more
    created: int
    merged: int
    pruned: int


def initial_state(dim: int, config: SonaConfig) -> LearnedState:
    """Return version 0 of a space, the same for everyone who has the same seed and ranks."""
    return _initial_state(dim, config.loops.seed, config.micro.rank, config.base.rank, config.base.layers)


@functools.lru_cache(maxsize=16)  # of a thousand spaces that have learned nothing most are alike
def _initial_state(dim: int, seed: int, micro_rank: int, base_rank: int, layers: int) -> LearnedState:
    base = tuple(LoraWeights.initial(base_rank, dim, seed + 1 + layer) for layer in range(layers))
    return LearnedState(version=0, parent=0, micro=LoraWeights.initial(micro_rank, dim, seed), base=base)


def replay_ids(state: LearnedState, config: SonaConfig) -> NDArray[np.uint8]:
    """Return the ids (n, 16) of the trajectories that a step from ``state`` wants to read again."""
    return _reservoir(state, config).ids


def named_sets(claimed: LedgerSlice, stored: Trajectories) -> list[int]:
    """Return the candidate sets that a slice and what it reads again name."""
    named = [claimed.fresh.candidate_sets, claimed.revised.candidate_sets, stored.candidate_sets]
    return [int(value) for value in np.unique(np.concatenate(named)) if value]


def learn(
    before: Knowledge,
    claimed: LedgerSlice,
    stored: Stored,
    config: SonaConfig,
    version: int,
) -> Step:
    """Return the knowledge of ``version``: everything the slice says, folded in exactly once.

    Args:
        before: the knowledge the live version holds.
        claimed: new trajectories, and earlier ones whose feedback has changed.
        stored: what ``replay_ids`` asked for.
        config: of the space.
        version: the number of the version being made; with the configured seed it fixes every random draw.
    """
    before = before.grown_to(config)
    state = before.state
    seed = config.loops.seed * 1_000_003 + version
    reservoir = _reservoir(state, config)
    sample = _sample(stored, seed)
    found = extraction.extract(
        before.patterns,
        _observations(claimed.fresh, claimed.outcomes, config.patterns),
        config.patterns,
        seed=seed,
        version=version,
        stored=_observations(sample.trajectories, _as_counted(sample, claimed), config.patterns),
        each=reservoir.seen / max(len(sample.trajectories), 1),
    )
    left = reservoir.withdraw(_taken_back(claimed)).offer(_newly_rated(claimed), seed)
    patterns = _in_order(_revised(found.patterns, claimed, config.patterns, version))
    if not left.seen and reservoir.seen:
        patterns = [unrated(pattern) for pattern in patterns]
    router = router_of(state, config).learn(
        Judged(claimed.fresh, claimed.outcomes),
        Judged(claimed.revised, claimed.after),
        claimed.before,
        Judged(sample.trajectories, sample.outcomes),
        seed,
    )
    told = _told(claimed, stored)
    ranker = learn_ranking(ranker_of(state), stored.catalog, told.folded, told.replay, seed)
    adapted = _learn_adapters(before, claimed, sample, told, ranker, config, seed)
    adapters = adapted.step
    arrays: dict[str, Arrays] = {
        **adapters.arrays,
        "router": router.to_arrays(),
        "ranker": ranker.to_arrays(),
        "replay": left.to_arrays(),
        "baseline": adapted.baseline.to_arrays(),
    }
    next_state = LearnedState(
        version=version,
        parent=state.version,
        micro=adapters.micro,
        base=adapters.base,
        routes=updated_routes(state.routes, claimed, version),
        arrays=_as_stored(arrays),
        metrics={
            "samples": float(adapters.samples),
            "shift": float(adapters.shift),
            "ewc_lambda": adapters.ewc_lambda,
        },
    )
    protected = [*before.fisher, *adapters.fisher]
    kept = lasting([*adapted.protected, *adapters.fisher], config.ewc.max_tasks)
    return Step(
        knowledge=Knowledge(next_state, patterns, kept),
        removed=found.removed,
        new_fisher=adapters.fisher,
        faded=[snapshot for snapshot in protected if snapshot not in kept],
        created=found.created,
        merged=found.merged,
        pruned=found.pruned,
    )


def _observations(of: Trajectories, outcomes: Sequence[Outcome], config: PatternConfig) -> Observations:
    verdicts = _verdicts(of, outcomes, config)
    return Observations(unit(of.embeddings), _qualities(outcomes), of.routes, of.queries, verdicts, of.parameters)


def _verdicts(of: Trajectories, outcomes: Sequence[Outcome], config: PatternConfig) -> list[Verdict | None]:
    return [
        judge(outcome.quality, outcome.worst, lowest, config)
        for outcome, lowest in zip(outcomes, of.lowest_reward.tolist(), strict=True)
    ]


def _as_counted(stored: Stored, claimed: LedgerSlice) -> Sequence[Outcome]:
    """Return the outcomes of the stored trajectories as the patterns count them: before what the slice changes."""
    if not len(claimed.revised):
        return stored.outcomes
    before = dict(zip(claimed.revised.uuids(), claimed.before, strict=True))
    return [before.get(id_, outcome) for id_, outcome in zip(stored.trajectories.uuids(), stored.outcomes, strict=True)]


def _sample(stored: Stored, seed: int) -> Stored:
    """Return ``MAX_SAMPLE`` of the trajectories read again, drawn uniformly, in their order; all when they are few."""
    count = len(stored.trajectories)
    if count <= MAX_SAMPLE:
        return stored
    rows = np.sort(np.random.default_rng(seed).choice(count, MAX_SAMPLE, replace=False))
    outcomes = [stored.outcomes[row] for row in rows]
    return dataclasses.replace(stored, trajectories=stored.trajectories.take(rows), outcomes=outcomes)


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """Feedback on choices among candidates: new with the slice, and earlier."""

    fresh: RankEvents
    anew: RankEvents  # of earlier trajectories whose outcome has changed, as it is now
    gone: RankEvents  # of the same, as it was learned
    folded: RankEvents  # both, and what they replace with negative weight
    replay: RankEvents


def _told(claimed: LedgerSlice, stored: Stored) -> _Told:
    def events(of: Trajectories, outcomes: Sequence[Outcome], weight: float = 1.0) -> RankEvents:
        return rank_events(of, outcomes, stored.catalog, stored.sets, weight)

    fresh = events(claimed.fresh, claimed.outcomes)
    pairs = enumerate(zip(claimed.before, claimed.after, strict=True))
    rows = [row for row, (old, new) in pairs if (old.quality, old.correction) != (new.quality, new.correction)]
    revised = claimed.revised.take(np.array(rows, np.int64))
    gone = events(revised, [claimed.before[row] for row in rows])
    anew = events(revised, [claimed.after[row] for row in rows])
    replay = events(stored.trajectories, stored.outcomes)
    taken_back = dataclasses.replace(gone, weight=-gone.weight)
    return _Told(fresh, anew, gone, fresh.joined(taken_back).joined(anew), replay)


@dataclass(frozen=True, slots=True, eq=False)
class _Adapted:
    """The adapters after a step, with what belongs to them."""

    step: AdapterStep
    baseline: Baseline
    protected: Sequence[FisherSnapshot]  # of earlier tasks, that go on being protected


def _learn_adapters(
    before: Knowledge,
    claimed: LedgerSlice,
    stored: Stored,
    told: _Told,
    ranker: RankerState,
    config: SonaConfig,
    seed: int,
) -> _Adapted:
    state, embeddings = before.state, stored.catalog.embeddings
    proven = ranker.evidence(np.arange(len(embeddings), dtype=np.int32)) > 0

    def choices(events: RankEvents, most: int) -> Choices:
        if not len(embeddings) or not len(events):
            return Choices.empty(state.micro.dim)
        return Choices.of(events, embeddings, proven, most, seed)

    changed = ChangedReturns.of(claimed)
    baseline = changed.taken_out(baseline_of(state))
    gone = changed.learned(baseline)
    directions, baseline = directions_of(claimed.fresh, claimed.steps, claimed.outcomes, baseline)
    late, baseline = directions_of(changed.trajectories, changed.steps, changed.after, baseline)
    fresh = choices(told.fresh.joined(told.anew), MAX_CHOICES)
    # As many earlier choices as new ones: enough to hold what is known, at a cost that history does not raise.
    replay = choices(told.replay, max(MIN_REPLAY, len(fresh)) if len(fresh) else 0)
    samples = Samples(directions.followed_by(late, len(directions) + len(late)), fresh)
    stream, arrays = unit(claimed.fresh.embeddings), state.arrays
    if len(changed.trajectories) and not baseline.count and ranker.folded[1] < 0.5:
        blank = initial_state(state.micro.dim, config)  # all that was ever said is taken back
        arrays = {"stream": arrays["stream"]} if "stream" in arrays else {}
        forgot = learn_adapters(samples, replay, stream, blank.micro, blank.base, arrays, (), config, seed)
        return _Adapted(forgot, baseline, ())
    reversal = Reversal(gone, choices(told.gone, MAX_CHOICES), *_staying(claimed, stored, state, config))
    learned = learn_adapters(
        samples, replay, stream, state.micro, state.base, arrays, before.fisher, config, seed, reversal
    )
    return _Adapted(learned, baseline, before.fisher)


def _staying(
    claimed: LedgerSlice, stored: Stored, state: LearnedState, config: SonaConfig
) -> tuple[NDArray[np.float32], float]:
    """Return the queries of a sample of the earlier feedback that still holds, and how many each stands for."""
    if not len(claimed.revised):
        return np.zeros((0, state.micro.dim), np.float32), 1.0
    revised = frozenset(claimed.revised.uuids())
    rows = [
        row
        for row, (id_, outcome) in enumerate(zip(stored.trajectories.uuids(), stored.outcomes, strict=True))
        if outcome.quality is not None and id_ not in revised
    ]
    each = _reservoir(state, config).seen / max(len(stored.trajectories), 1)
    return unit(stored.trajectories.embeddings[rows]), each


def _as_stored(arrays: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """Return the arrays in the layout in which the store gives them back: the rounding of a product depends on it."""
    return {part: {name: np.asarray(value, order="C") for name, value in of.items()} for part, of in arrays.items()}


def _in_order(patterns: Sequence[LearnedPattern]) -> list[LearnedPattern]:
    """Return ``patterns`` in the order in which the store gives them back, on which the next cycle depends."""
    return sorted(patterns, key=lambda pattern: (pattern.created_version, pattern.id))


def _revised(
    patterns: Sequence[LearnedPattern], claimed: LedgerSlice, config: PatternConfig, version: int
) -> list[LearnedPattern]:
    """Return the patterns with every change of an earlier outcome taken over by the pattern that counts it."""
    revised = list(patterns)
    rows = claimed.revised
    if not revised or not len(rows):
        return revised
    similarities = unit(rows.embeddings) @ np.stack([pattern.centroid for pattern in revised]).T
    before, after = (_verdicts(rows, outcomes, config) for outcomes in (claimed.before, claimed.after))
    for row, route in enumerate(rows.routes):
        if not similarities[row].any():
            continue  # no direction: no pattern has ever counted it
        settings = rows.parameters[row]
        old = Counted(route, claimed.before[row].quality, before[row], settings)
        new = Counted(route, claimed.after[row].quality, after[row], settings)
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


def _taken_back(claimed: LedgerSlice) -> NDArray[np.uint8]:
    """Return the ids (n, 16) of the trajectories that nobody rates any more since this slice."""
    pairs = enumerate(zip(claimed.before, claimed.after, strict=True))
    return claimed.revised.ids[[row for row, (old, new) in pairs if old.quality is not None and new.quality is None]]


def baseline_of(state: LearnedState) -> Baseline:
    """Return the running baseline that a state holds."""
    return Baseline.from_arrays(state.arrays["baseline"]) if "baseline" in state.arrays else Baseline()


def ranker_of(state: LearnedState) -> RankerState:
    """Return the ranker that a state holds."""
    if "ranker" in state.arrays:
        return RankerState.from_arrays(state.arrays["ranker"])
    return RankerState.initial(state.micro.dim)


def router_of(state: LearnedState, config: SonaConfig) -> Router:
    """Return the router that a state holds."""
    if "router" in state.arrays:
        return Router.from_arrays(state.arrays["router"])
    return Router.initial(state.micro.dim, config.loops.seed)


def _reservoir(state: LearnedState, config: SonaConfig) -> Reservoir:
    if "replay" in state.arrays:
        return Reservoir.from_arrays(state.arrays["replay"], config.loops.replay)
    return Reservoir.empty(config.loops.replay)
