"""Learning of a space's adapters from a slice: directions of steps, choices among candidates, reversal of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.domain.ledger_slice import LedgerSlice, Outcome, Trajectories
from sona_pg.domain.state import FisherSnapshot, LearnedState
from sona_pg.learning.adapters.adapter_step import AdapterStep, learn_adapters
from sona_pg.learning.adapters.baseline import Baseline
from sona_pg.learning.adapters.choices import Choices
from sona_pg.learning.adapters.reversal import ChangedReturns, Reversal
from sona_pg.learning.adapters.samples import Samples, directions_of
from sona_pg.learning.knowledge import Knowledge, Stored, baseline_of, initial_state, reservoir_of
from sona_pg.learning.ranking.ranker import RankerState
from sona_pg.learning.ranking.ranker_events import RankEvents
from sona_pg.learning.ranking.ranking_step import rank_events
from sona_pg.learning.replay import Reservoir, sortable
from sona_pg.learning.vectors import unit

MAX_CHOICES = 8192  # of one slice that the adapters learn from; the ranker learns from all
MIN_REPLAY = 256  # earlier choices beside a slice, however small


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """Feedback on choices among candidates: of the slice, and earlier."""

    fresh: RankEvents
    anew: RankEvents  # events of earlier trajectories with changed outcomes, as they are now
    gone: RankEvents  # the same events, as they were learned
    folded: RankEvents  # both, and the replaced events with negative weight
    replay: RankEvents  # of the uniform sample


def told_of(claimed: LedgerSlice, stored: Stored) -> Told:
    """Return the feedback on choices of a slice and of its replay."""

    def events(of: Trajectories, outcomes: Sequence[Outcome], weight: float = 1.0) -> RankEvents:
        return rank_events(of, outcomes, stored.catalog, stored.sets, weight)

    fresh = events(claimed.fresh, claimed.outcomes)
    rows = _changed(claimed)
    revised = claimed.revised.take(np.array(rows, np.int64))
    gone = events(revised, [claimed.before[row] for row in rows])
    anew = events(revised, [claimed.after[row] for row in rows])
    replay = events(stored.trajectories, stored.outcomes)
    taken_back = dataclasses.replace(gone, weight=-gone.weight)
    return Told(fresh, anew, gone, fresh.joined(taken_back).joined(anew), replay)


def stratified(claimed: LedgerSlice, stored: Stored, reservoir: Reservoir) -> RankEvents:
    """Return the ranker's replay: corrections outside of the sample too, each event weighed by how many it stands for.

    What the slice changes is left out: it is among the new events.
    """
    changed = claimed.revised.ids[_changed(claimed)]
    rows = np.flatnonzero(~np.isin(sortable(stored.trajectories.ids), sortable(changed)))
    of, outcomes = stored.trajectories.take(rows), [stored.outcomes[row] for row in rows.tolist()]
    return rank_events(of, outcomes, stored.catalog, stored.sets, reservoir.weights(of.ids))


def _changed(claimed: LedgerSlice) -> list[int]:
    """Return the rows of the revised trajectories whose learned outcome the slice changes."""
    pairs = enumerate(zip(claimed.before, claimed.after, strict=True))
    return [row for row, (old, new) in pairs if (old.quality, old.correction) != (new.quality, new.correction)]


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """The adapters after a step, with their arrays and counts."""

    step: AdapterStep
    baseline: Baseline
    protected: Sequence[FisherSnapshot]  # of earlier tasks, that go on being protected


def adapt(
    before: Knowledge,
    claimed: LedgerSlice,
    sample: Stored,
    told: Told,
    ranker: RankerState,
    config: SonaConfig,
    seed: int,
    *,
    turn_back: bool = True,
) -> Adapted:
    """Return the adapters after a slice.

    Args:
        before: the knowledge before it.
        claimed: the slice.
        sample: of the trajectories read again.
        told: feedback on choices of both.
        ranker: with the evidence of the slice.
        config: of the space.
        seed: of every random draw.
        turn_back: whether to reverse feedback changed by the slice; not if the adapters are relearned without it.
    """
    state, embeddings = before.state, sample.catalog.embeddings
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
    # As many earlier choices as new ones: enough against forgetting, at a cost independent of the history.
    replay = choices(told.replay, max(MIN_REPLAY, len(fresh)) if len(fresh) else 0)
    samples = Samples(directions.followed_by(late, len(directions) + len(late)), fresh)
    stream, arrays = unit(claimed.fresh.embeddings), state.arrays
    if len(changed.trajectories) and not baseline.count and ranker.folded[1] < 0.5:
        blank = initial_state(state.micro.dim, config)  # all feedback is retracted
        arrays = {"stream": arrays["stream"]} if "stream" in arrays else {}
        forgot = learn_adapters(samples, replay, stream, blank.micro, blank.base, arrays, (), config, seed)
        return Adapted(forgot, baseline, ())
    reversal = None
    if turn_back:
        reversal = Reversal(gone, choices(told.gone, MAX_CHOICES), *_staying(claimed, sample, state, config))
    learned = learn_adapters(
        samples, replay, stream, state.micro, state.base, arrays, before.fisher, config, seed, reversal
    )
    return Adapted(learned, baseline, before.fisher)


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
    each = reservoir_of(state, config).seen / max(len(stored.trajectories), 1)
    return unit(stored.trajectories.embeddings[rows]), each
