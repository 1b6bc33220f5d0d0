"""The router's frozen state, and how one decision is made from it.

Quality is modelled as one main effect that all routes share (a question is hard for every model) plus a
deviation per route, both smooth in the query's embedding and the caller's cheap features:

    E[quality | x, r] = b₀ + w₀·φ(x) + b_r + w_r·φ(x)

`router_basis` makes φ, `router_posterior` the weights, `router_curve` the size of differences between routes,
`router_fit` a new state; this module only reads one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sona_pg.errors import ConfigError, DimensionMismatch, LearningError
from sona_pg.learning.routing.exploration import Exploration, slack_of, thompson_probabilities
from sona_pg.learning.routing.forgotten import WEIGHT, Forgotten
from sona_pg.learning.routing.router_basis import Basis, Doubles, Floats
from sona_pg.learning.routing.router_costs import UNKNOWN
from sona_pg.learning.routing.router_curve import STRAIGHT, curved
from sona_pg.learning.routing.router_posterior import without_negative
from sona_pg.limits import MAX_DIM


@dataclass(frozen=True, slots=True)
class Utility:
    """Weights of cost and latency: value = quality - cost·c - latency·l."""

    cost: float = 0.0
    latency: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.cost < np.inf and 0 <= self.latency < np.inf):
            raise ConfigError(f"utility weights must be finite and not negative, got {self}")


QUALITY_ALONE = Utility()
USUAL = Exploration()
PARTS: dict[str, type[Any]] = {"basis": Basis, "forgotten": Forgotten}  # of a state, stored as arrays of their own


class RouteEvidence(NamedTuple):
    """One route as a person reads it: quality and uncertainty are a Beta(1, 1) posterior's mean and deviation."""

    route: int
    observations: float
    quality: float
    uncertainty: float
    cost: float  # mean; NaN when no event told
    latency: float  # mean; NaN when no event told


class Choice(NamedTuple):
    """One decision: the route, the exact probability with which it was drawn, and why."""

    route: int
    propensity: float
    probabilities: Doubles  # (k,) in the order of the candidates; sums to 1
    scores: Doubles  # (k,) expected quality
    values: Doubles  # (k,) utility, without a budget's price
    costs: Doubles  # (k,) expected
    reason: str  # "only candidate", "warm-up", "exploit" or "explore"


@dataclass(frozen=True, slots=True)
class RouterState:
    """State of the router, immutable. R = routes seen so far, m = width of the basis."""

    dim: int
    seed: int
    basis: Basis
    gram: Floats  # (R, m+1, m+1) Σ w·φφᵀ per route
    moment: Doubles  # (R, m+1) Σ w·quality·φ
    square: Doubles  # (R,) Σ w·quality²
    totals: Doubles  # (R, 6) Σ w: all, quality; those with a cost, cost; those with a latency, latency
    paid: Doubles  # (R, 2, 2, m+1) sums of real costs; see router_costs
    cost_weights: Floats  # (2, R+1, m+1) of the cost, and of its ratio to an estimate
    least: Doubles  # (2, R+1) the smallest of each; negative where no real cost is known
    weights: Floats  # (R+1, m+1) posterior means of w₀ + w_r; the last row is w₀, which stands for unseen routes
    variance: Floats  # (R+1, m+1) posterior variances of w_r given w₀: uncertainty of differences
    prior_main: float  # variance of w₀
    prior_route: float  # variance of w_r
    noise: float  # variance of quality around its mean
    curve: Doubles  # (3,) size of differences by difficulty; see router_curve
    folded: float  # events folded so far
    based_at: float  # `folded` when the basis was built
    tuned_at: float  # `folded` when the prior variances were last chosen
    compared_at: float  # `folded` when kernels were last compared
    set_aside: float  # events that were not finite or out of range
    forgotten: Forgotten  # reductions of the sums by newer events

    @classmethod
    def initial(cls, dim: int, seed: int = 0) -> RouterState:
        """State before any feedback, for embeddings of `dim`; explores uniformly."""
        if not 1 <= dim <= MAX_DIM:
            raise ConfigError(f"a router's dimension must be 1 to {MAX_DIM}, got {dim}")
        return cls(
            dim=dim,
            seed=seed,
            basis=Basis.empty(),
            gram=np.zeros((0, 1, 1), np.float32),
            moment=np.zeros((0, 1)),
            square=np.zeros(0),
            totals=np.zeros((0, 6)),
            paid=np.zeros((0, 2, 2, 1)),
            cost_weights=np.zeros((2, 1, 1), np.float32),
            least=np.full((2, 1), UNKNOWN),
            weights=np.array([[0.5]], np.float32),
            variance=np.array([[0.25]], np.float32),
            prior_main=0.05,
            prior_route=0.0175,
            noise=0.2,
            curve=STRAIGHT,
            folded=0.0,
            based_at=0.0,
            tuned_at=0.0,
            compared_at=0.0,
            set_aside=0.0,
            forgotten=Forgotten.empty(),
        )

    @property
    def route_count(self) -> int:
        return len(self.totals)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The state as named arrays, to be stored; `from_arrays` makes an equal state of them."""
        own = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self) if f.name not in PARTS}
        arrays = own | {
            f"{part}.{f.name}": np.asarray(getattr(getattr(self, part), f.name))
            for part, of in PARTS.items()
            for f in fields(of)
        }
        if self.basis.linear:  # a release that knows no linear part must refuse this basis, not misread it
            arrays["basis.mixed_length"] = arrays.pop("basis.length")
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> RouterState:
        """The state that `to_arrays` was called on. LearningError names an array that is missing."""

        def value(name: str) -> Any:
            return arrays[name] if arrays[name].ndim else arrays[name].item()

        if "paid" not in arrays:  # stored before routers learned costs
            routes, p = arrays["weights"].shape
            least = np.full((2, routes), UNKNOWN)
            arrays = {
                **arrays, "paid": np.zeros((routes - 1, 2, 2, p)), "least": least,
                "cost_weights": np.zeros((2, routes, p), np.float32),
            }  # fmt: skip
        nothing = {f"forgotten.{f.name}": getattr(Forgotten.empty(), f.name) for f in fields(Forgotten)}
        if "forgotten.toward" in arrays:  # stored before reductions kept what they were told
            toward, lost = arrays["forgotten.toward"], arrays["forgotten.lost"]
            nothing["forgotten.told"] = (toward * lost[..., [WEIGHT]]).astype(np.float32)
        if "basis.mixed_length" in arrays:
            nothing["basis.length"] = arrays["basis.mixed_length"]
        absent = {
            "curve": STRAIGHT,
            "basis.linear": np.zeros(()),
            "compared_at": np.zeros(()),
        }  # before routers had them
        arrays = {**absent, **nothing, **arrays}
        try:
            parts = {part: of(**{f.name: value(f"{part}.{f.name}") for f in fields(of)}) for part, of in PARTS.items()}
            return cls(**parts, **{f.name: value(f.name) for f in fields(cls) if f.name not in PARTS})
        except KeyError as exc:
            raise LearningError(f"a stored router state lacks {exc}; it has {sorted(arrays)}") from exc

    def statistics(self) -> list[RouteEvidence]:
        """Count, quality, cost and latency of every route, for people and dashboards."""
        rows = []
        for route, (count, good, cost_n, cost, latency_n, latency) in enumerate(self.totals.tolist()):
            a, b = 1 + good, 1 + max(count - good, 0.0)
            spread = (a * b / ((a + b) ** 2 * (a + b + 1))) ** 0.5
            mean_cost = cost / cost_n if cost_n else np.nan
            mean_latency = latency / latency_n if latency_n else np.nan
            rows.append(RouteEvidence(route, count, a / (a + b), spread, mean_cost, mean_latency))
        return rows

    def gram_of(self, route: int) -> Doubles:
        """Return the Gram matrix (m+1, m+1) of a route as it is solved: of parts of events it need be none."""
        gram = self.gram[route].astype(np.float64)
        return without_negative(gram) if len(self.forgotten) else gram

    def rows_of(self, routes: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
        """Where a route's posterior is; routes never seen share the last row."""
        return np.where((routes >= 0) & (routes < self.route_count), routes, self.route_count)

    def knows_costs(self, rows: NDArray[np.integer[Any]]) -> bool:
        """Return whether a real cost of one of these candidates, or more, is known."""
        return bool((self.least[0, rows] >= 0).any())

    def predict(self, query: Floats, features: Floats | None, routes: NDArray[np.integer[Any]]) -> Doubles:
        """Expected quality, not clipped: (n, dim), (n, f) or None, (k,) to (n, k)."""
        phi, row = self.basis(_checked(query, self.dim), features), self.rows_of(routes)
        return self.expected(phi, row)[0]

    def expected(self, phi: Floats, row: NDArray[np.integer[Any]]) -> tuple[Doubles, Doubles]:
        """Return the expected quality of routes, and the variances of their deviations: (n, p), (k,) to (n, k) each."""
        squares = phi * phi
        beyond = self.prior_route * np.maximum(0.0, 1.0 - squares[:, 1:].sum(axis=1, dtype=np.float64))
        squared = np.asarray(squares @ self.variance[row].T, np.float64) + beyond[:, None]
        return curved(self.curve, self.prior_route, np.asarray(phi @ self.weights[row].T, np.float64), squared), squared


def decide(
    state: RouterState,
    query: ArrayLike,
    candidates: ArrayLike,
    rng: np.random.Generator,
    features: ArrayLike | None = None,
    costs: ArrayLike | None = None,
    price: float = 0.0,
    budget: float | None = None,
    utility: Utility = QUALITY_ALONE,
    exploration: Exploration = USUAL,
    shifted: Collection[int] = (),
) -> Choice:
    """Draws one of the candidates for a query.

    `query` (dim,), `candidates` (k,) route numbers, also ones never seen, `features` (f,), `costs` (k,) estimates in
    the caller's unit, corrected by what is known of their errors (when None, what is known of the routes' costs),
    `price` the current weight of a unit of cost, from `pacing.BudgetPacer.price`; `budget` the mean cost of which
    forced exploration may stake a share. With a budget values are pessimistic: money is for proven gains. A weight of
    cost in `utility` limits forced exploration by price, too. `shifted` are the routes whose quality has changed of
    late. Raises LearningError without candidates or with values that are not finite, DimensionMismatch for another
    dimension.
    """
    routes = np.asarray(candidates, np.int64)
    if routes.ndim != 1 or not len(routes):
        raise LearningError(f"route needs a list of at least one candidate, got shape {routes.shape}")
    row = state.rows_of(routes)
    phi = state.basis(_checked(np.atleast_2d(np.asarray(query, np.float32)), state.dim), _row(features))[0]
    scores, squared = (part[0] for part in state.expected(phi[None, :], row))
    cost = expected_costs(state, row, phi, _estimates(routes, costs))
    deviation = np.sqrt(squared)
    values = scores - utility.cost * cost
    if budget is not None:
        values -= exploration.pessimism * deviation
    if utility.latency:
        values -= utility.latency * known_means(state.totals, row, 4)
    if len(routes) == 1:
        return Choice(int(routes[0]), 1.0, np.ones(1), scores, values, cost, "only candidate")
    net = values - price * cost
    best = thompson_probabilities(net, deviation * exploration.temperature)
    count = np.append(state.totals[:, 0], 0.0)[row]
    slack = slack_of(cost, utility.cost, budget)
    price += utility.cost
    stakes = None if slack == np.inf else exploration.stakes(count, cost, net, price, slack, paced=budget is not None)
    plausible = exploration.plausible(scores, deviation)
    forced = exploration.forced(count, plausible, stakes, paced=budget is not None, shifted=np.isin(row, list(shifted)))
    probabilities = (1 - forced.sum()) * best + forced
    probabilities /= probabilities.sum()
    drawn = min(int(np.searchsorted(np.cumsum(probabilities), rng.random(), side="right")), len(routes) - 1)
    reason = "warm-up" if forced.sum() > 0.5 else "exploit" if drawn == int(np.argmax(net)) else "explore"
    return Choice(int(routes[drawn]), float(probabilities[drawn]), probabilities, scores, values, cost, reason)


def expected_costs(
    state: RouterState, row: NDArray[np.integer[Any]], phi: Floats, estimates: Doubles | None
) -> Doubles:
    """Return the cost to expect of each candidate (k,): learned, or the estimate times its known error."""
    kind = np.zeros(len(row), np.int64) if estimates is None else (estimates > 0).astype(np.int64)
    least = state.least[kind, row]
    learned = np.maximum(np.einsum("km,m->k", state.cost_weights[kind, row], phi).astype(np.float64), least)
    if estimates is None:
        return np.where(least < 0, known_means(state.totals, row, 2), learned)
    return np.where(least < 0, estimates, learned * np.where(kind == 1, estimates, 1.0))


def known_means(totals: Doubles, row: NDArray[np.integer[Any]], column: int) -> Doubles:
    """Mean cost (column 2) or latency (column 4) per route; where unknown, the mean of the known ones."""
    count, total = np.append(totals[:, column], 0.0), np.append(totals[:, column + 1], 0.0)
    usual = total.sum() / count.sum() if count.sum() else 0.0
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1e-12), usual)[row], np.float64)


def _estimates(routes: NDArray[np.int64], costs: ArrayLike | None) -> Doubles | None:
    if costs is None:
        return None
    given = np.asarray(costs, np.float64)
    if given.shape != routes.shape or not np.isfinite(given).all():
        raise LearningError(f"costs must be one finite number per candidate, got {given} for {routes}")
    return given


def _row(features: ArrayLike | None) -> Floats | None:
    return None if features is None else np.atleast_2d(np.asarray(features, np.float32))


def _checked(query: Floats, dim: int) -> Floats:
    if query.ndim != 2 or query.shape[1] != dim:
        raise DimensionMismatch(dim, query.shape[-1] if query.ndim else 0)
    if not np.isfinite(query).all():
        raise LearningError("the query's embedding is not finite; give finite numbers")
    return query
