"""Frozen state of the ranker, and its scores of candidates for a query.

A candidate (a document, an answer, a tool) is scored by four terms:

    score = τ (1 + c) z·f  +  γ f·(M z)  +  v·z  +  ω / (1 + n)

`z` is the centred and scaled query, `f` the centred and scaled embedding of the candidate. The first term is the
cosine, the score before any feedback; while there is little feedback it counts more, by the caution `c`, for which the
query is not centred. `M` is learned from all feedback and serves candidates never seen, too. `v` is the candidate's own
head, zero until it is fitted. `ω` is the allowance for candidates with little positive feedback `n` (`ranker_prior`). A
state that never learned returns the cosine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sona_pg.domain.catalog import Rows
from sona_pg.errors import DimensionMismatch, LearningError
from sona_pg.learning.ranking.ranker_events import FloatArray, IntArray, unit_rows

Matrix = npt.NDArray[np.float64]

LEAST_VARIANCE = 0.2  # of a cloud of unit vectors around its centre: less is left of an embedding with cosines of .8
MOST_STEPS = 60.0  # of one fit, where they cost little: a small space had stopped far from its minimum with 12
MOST_CAUTION = 1.8  # benchmarks/eval/EVIDENCE.md, "Cold start by intent"
SHARPNESSES: tuple[float, ...] = (1.0, 4.0, 16.0)  # factors of the logits in a fit: `ranker_sharpness`
CAUTIOUS = 1.5  # judgements of each judged candidate at which caution is half of that
FIRST_UNUSUAL = 2.5  # `RankerState.unusual` until it is measured
MOST_NOISE = 0.3  # share of wrong feedback, as far as it is believed
_ITEMS_AT_ONCE = 2048  # scored at once, to bound temporary memory
_GATHER_ABOVE = 4  # heads per candidate: below, one product over all is cheaper than copying some


@dataclass(frozen=True, slots=True)
class RankerConfig:
    """Hyperparameters of the ranker, independent of the embedding's scale. Evidence: benchmarks/eval/EVIDENCE.md."""

    prior_spread: float = 0.7  # standard deviation, in logits, of the cosine term over the candidates
    map_gain: float = 0.6  # γ: how freely the shared map moves, beside the heads
    # Gaussian prior on heads and map, in nats, times the share of sure answers contradicted, half of that where it is
    # large
    ridge: float = 1.0
    label_noise: float = 0.02  # chance that feedback says the opposite, until it is measured
    least_noise: float = 0.01
    noise_doubt: float = (
        1.3  # factor of the estimated label noise: to believe in too little costs more than in too much
    )
    # Factors of the estimated label noise, for thumbs up on wrong answers and thumbs down on right ones. Most wrong
    # thumbs are of the second kind, and a fit is overconfident on its own data.
    up_doubt: float = 0.3
    down_doubt: float = 4.0
    # weight of the pseudo-queries of a candidate without feedback
    prior_strength: float = 4.0
    prior_decay: float = 2.0  # that weight decays as (1 + n)^-decay
    prior_samples: int = 8  # pseudo-queries drawn for each candidate
    # share of proven answers that candidates with little feedback may take
    steal_rate: float = 0.08
    moved_weight: float = 3.0  # of feedback for an answer where earlier feedback is overruled
    # of new corrections where logits count more, as many of them raise the ridge in the cycle that learns them
    told_weight: float = 6.0
    row_evaluations: int = 40_000  # cost limit of a fit: rows of the objective times evaluations
    usual_candidates: int = 256  # candidates up to which that holds; of more, as much fewer rows
    most_features: int = 512  # wider embeddings are learned from in a subspace of this width
    most_rows: int = 1024  # candidates fitted in one cycle
    most_heads: int = 8192  # candidates with a head, 8 MB in each version at 256 dimensions; the map serves all

    def iterations(self, rows: int, candidates: int, new: float, moved: float = 0.0) -> int:
        """L-BFGS steps of a fit of `rows` to `candidates`, a share `new` of whose weight is new since the last fit.

        A share `moved` of the new events is about meanings that have changed: the minimum is farther then.
        Beyond `usual_candidates` a step costs more, and there are fewer: the next cycle continues from this one's
        result. Evidence: benchmarks/eval/EVIDENCE.md.
        """
        dearer = max(candidates / self.usual_candidates, 1.0)
        affordable = self.row_evaluations / max(rows * dearer, 1.0) - 1.0
        return round(max(min(affordable, MOST_STEPS), 2.0 + (15.0 * new + 22.0 * math.sqrt(moved)) / math.sqrt(dearer)))


@dataclass(frozen=True, slots=True, eq=False)
class RankerState:
    """Everything learned about ranking in one space; never changed, only replaced."""

    query_sum: Matrix  # (dim,) sum of the queries folded
    folded: Matrix  # (5,) queries, labelled events, sum of spreads of cosines, fits, count of spreads
    positive: Matrix  # (m,) feedback for each candidate
    negative: Matrix  # (m,) feedback against each candidate
    item_mean: FloatArray  # (dim,)
    scales: FloatArray  # (5,) query scale, candidate scale, τ, ω, label noise (0: not measured)
    basis: FloatArray  # (dim, k) orthonormal, or (0, 0) for all of the space
    map: FloatArray  # (k, k + 1) γM, its last column a bias
    head_rows: IntArray  # (r,) ascending candidate rows that have a head
    heads: FloatArray  # (r, k + 1) the heads v, their last column a bias
    overruled: Matrix  # (m,) positive feedback for each candidate that later feedback has overruled
    lost: FloatArray  # (l, dim) regions of the query space that lost their answer, as `ranker_search.Search` has them
    reach: FloatArray  # (l,)
    homes: IntArray  # (h,)
    tally: FloatArray  # (l, h)
    # (5,) log of the sum over candidates: mean and deviation over queries learned from, how much less the mean is of
    # others, and the ratio of their deviation; log odds by which answers are surer. See `ranker_confidence`.
    belief: FloatArray
    bound: FloatArray  # (1,) most caution that leaves what was told first
    sharpness: FloatArray  # (4,) factor of the logits in the fit, then the log likelihood of each of `SHARPNESSES`
    unusual: FloatArray  # (1,) deviations below the usual sum at which it is as likely that nothing fits
    contradicted: FloatArray  # (1,) share of sure answers that feedback contradicts (0: not measured)
    noise_strength: FloatArray  # (1,) judgements that the label noise measured is worth (0: not measured)

    @classmethod
    def initial(cls, dim: int) -> RankerState:
        """The state before any feedback: scores are cosines."""
        if dim < 1:
            raise LearningError(f"an embedding has at least one entry, not {dim}")
        return cls(
            query_sum=np.zeros(dim),
            folded=np.zeros(5),
            positive=np.zeros(0),
            negative=np.zeros(0),
            item_mean=np.zeros(dim, np.float32),
            scales=np.array([1.0, 1.0, 1.0, 0.0, 0.0], np.float32),
            basis=np.zeros((0, 0), np.float32),
            map=np.zeros((0, 0), np.float32),
            head_rows=np.zeros(0, np.int32),
            heads=np.zeros((0, 0), np.float32),
            overruled=np.zeros(0),
            **_nothing_lost(dim),
            belief=first_belief(),
            bound=np.full(1, MOST_CAUTION, np.float32),
            sharpness=np.array([1.0, *([0.0] * len(SHARPNESSES))], np.float32),
            unusual=np.full(1, FIRST_UNUSUAL, np.float32),
            contradicted=np.zeros(1, np.float32),
            noise_strength=np.zeros(1, np.float32),
        )

    @property
    def dim(self) -> int:
        """Entries of an embedding."""
        return len(self.query_sum)

    @property
    def fits(self) -> int:
        """How often it has learned."""
        return int(self.folded[3])

    @property
    def query_mean(self) -> FloatArray:
        """(dim,) centre of the queries folded."""
        return centre((self.query_sum / max(float(self.folded[0]), 1.0)).astype(np.float32))

    @property
    def caution(self) -> float:
        """Share of the cosine term by which it counts more than in the fit, while there is little feedback.

        The little there is tells less about queries unlike those it was given for than the fit takes it to. Answers
        that were told for a query stay first: `bound`.
        """
        little = MOST_CAUTION / (1.0 + (float(self.folded[1]) / (CAUTIOUS * max(self.judged, 1))) ** 2)
        return min(little, float(self.bound[0]))

    @property
    def judged(self) -> int:
        """Candidates with any feedback."""
        return int(np.count_nonzero((self.positive > 0.0) | (self.negative > 0.0)))

    @property
    def cosine_slope(self) -> float:
        """Logits that one unit of cosine is worth; 1 before the first fit, when scores are cosines."""
        return float(self.scales[2] / (self.scales[0] * self.scales[1]))

    def to_arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Its arrays by name, as they are stored."""
        arrays: dict[str, npt.NDArray[np.generic]]
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> RankerState:
        """The state that `to_arrays` described; raises `LearningError` when an array is missing."""
        blank = cls.initial(1)
        if "overruled" not in arrays and "positive" in arrays and "query_sum" in arrays:  # before revision of meanings
            dim, count = len(arrays["query_sum"]), len(arrays["positive"])
            arrays = {**arrays, "overruled": np.zeros(count), **_nothing_lost(dim)}
        if "noise_strength" not in arrays and "scales" in arrays:  # contradictions counted as label noise
            against = np.asarray(arrays["scales"][4:], np.float32)
            arrays = {**arrays, "scales": np.append(arrays["scales"][:4], 0.0), "contradicted": against}
        later = ("belief", "bound", "sharpness", "unusual", "contradicted", "noise_strength")  # than the first release
        arrays = {**{name: getattr(blank, name) for name in later}, **arrays}
        missing = [field.name for field in fields(cls) if field.name not in arrays]
        if missing:
            raise LearningError(f"a stored ranker lacks {', '.join(missing)}: rebuild the space's state")
        kinds = {field.name: getattr(blank, field.name).dtype for field in fields(cls)}
        return cls(**{name: np.asarray(arrays[name], kind) for name, kind in kinds.items()})

    def evidence(self, rows: IntArray) -> FloatArray:
        """(k,) positive feedback for each row; 0 for rows it does not know."""
        known = (rows >= 0) & (rows < len(self.positive))
        found = np.zeros(len(rows), np.float32)
        found[known] = np.maximum(self.positive[rows[known]], 0.0)
        return found

    def standing_evidence(self, rows: IntArray) -> FloatArray:
        """(k,) positive feedback for each row that later feedback has not overruled."""
        found = self.evidence(rows)
        known = (rows >= 0) & (rows < len(self.overruled))
        found[known] = np.maximum(found[known] - self.overruled[rows[known]], 0.0)
        return found


def first_belief() -> FloatArray:
    """Return what is believed of confidence before it is measured: EVIDENCE.md."""
    return np.array([0.0, 0.0, 0.7, 1.1, 1.1], np.float32)


def _nothing_lost(dim: int) -> dict[str, npt.NDArray[Any]]:
    blank = np.zeros((0, dim), np.float32)
    return {
        "lost": blank,
        "reach": np.zeros(0, np.float32),
        "homes": np.zeros(0, np.int32),
        "tally": np.zeros((0, 0), np.float32),
    }


def centre(mean: FloatArray) -> FloatArray:
    """Return the centre (dim,) to subtract from unit vectors with this mean: the mean, unless hardly anything is left.

    If all queries so far are equal, the mean is that query: centred it would be zero, and any other one a hundred times
    too long.
    """
    longest = np.sqrt(np.float32(1.0 - LEAST_VARIANCE))
    length = np.linalg.norm(mean)
    return mean if length <= longest else mean * (longest / length)


def query_features(state: RankerState, queries: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The centred and scaled queries (b, dim), and the same in the basis with a bias (b, k + 1)."""
    centred = (queries - state.query_mean) / state.scales[0]
    narrow = centred @ state.basis if state.basis.size else centred
    return centred, np.pad(narrow, ((0, 0), (0, 1)), constant_values=1.0)


def candidate_features(state: RankerState, embeddings: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The centred and scaled candidates (m, dim), and the same in the basis (m, k)."""
    centred = (embeddings - state.item_mean) / state.scales[1]
    return centred, centred @ state.basis if state.basis.size else centred


def score(state: RankerState, queries: FloatArray, embeddings: FloatArray, rows: IntArray) -> FloatArray:
    """Score every candidate for every query: (b, dim), (c, dim), (c,) -> (b, c) float32 logits.

    `rows` are the candidates' rows, NONE for one the store has never seen. Logits compare within
    a query only; their softmax is the chance of being right. Raises `DimensionMismatch`.
    """
    logits = learned_scores(state, queries, embeddings, rows)
    if state.fits:
        logits += state.scales[3] / (1.0 + state.evidence(rows))
    return logits


def learned_scores(
    state: RankerState, queries: FloatArray, embeddings: FloatArray, rows: IntArray, heads: bool = True
) -> FloatArray:
    """`score` without the allowance for little-known candidates, and without `heads` as of strangers."""
    for given in (queries, embeddings):
        if given.shape[-1] != state.dim:
            raise DimensionMismatch(state.dim, given.shape[-1])
    queries = unit_rows(queries)
    logits = stranger_scores(state, queries, unit_rows(embeddings))
    if heads:
        add_heads(state, logits, queries, rows)
    return logits


def stranger_scores(state: RankerState, queries: FloatArray, embeddings: Rows) -> FloatArray:
    """Score unit rows (b, dim), (c, dim) as if no candidate had a head: (b, c) logits, cosines before the first fit."""
    if not state.fits:
        cosines: FloatArray = queries @ embeddings[:].T
        return cosines
    wide, query = query_features(state, queries)
    mapped = query @ state.map.T
    # Caution leaves the queries' mean out, which is known the less.
    cautious = wide + np.float32(state.caution / state.scales[0]) * queries
    direction = state.scales[2] * cautious + (mapped @ state.basis.T if state.basis.size else mapped)
    logits = np.empty((len(queries), len(embeddings)), np.float32)
    for start in range(0, len(embeddings), _ITEMS_AT_ONCE):
        rows = slice(start, start + _ITEMS_AT_ONCE)
        # In this order the few directions are repacked for the product, not the many candidates.
        logits[:, rows] = (embeddings[rows] @ direction.T).T
    logits -= (direction @ state.item_mean)[:, None]
    logits /= state.scales[1]
    return logits


def add_heads(state: RankerState, logits: FloatArray, queries: FloatArray, rows: IntArray) -> None:
    """Add the heads of the candidates `rows` (c,) to the `logits` (b, c) of unit rows `queries` (b, dim)."""
    if not state.fits or not len(state.head_rows):
        return
    query = query_features(state, queries)[1]
    place = np.minimum(np.searchsorted(state.head_rows, rows), len(state.head_rows) - 1)
    headed = np.flatnonzero(state.head_rows[place] == rows)
    if len(headed) == len(rows) and len(state.heads) <= _GATHER_ABOVE * len(rows):
        logits += (query @ state.heads.T)[:, place]
    else:
        logits[:, headed] += query @ state.heads[place[headed]].T


def grown(state: RankerState, size: int) -> RankerState:
    """The same state with room for the evidence of `size` candidates."""
    more = max(size - len(state.positive), 0)
    counts = {name: np.pad(getattr(state, name), (0, more)) for name in ("positive", "negative", "overruled")}
    return replace(state, **counts)
