"""Fits a router state to events in a bounded step, whose cost is independent of the history.

Every event is folded into its route's sufficient statistics exactly once; the posterior is solved from
those alone (`router_posterior`). The replay is read only when a basis is due: at the start, while more data
allows more landmarks, when queries have left the landmarks' region, and when kernels are compared
(`router_kernel`). As long as the replay is the whole history the statistics are then summed anew; later they
are carried over by the linear map between the two bases, so that nothing is read or counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sona_pg.errors import ConfigError, LearningError
from sona_pg.learning.routing import router_kernel, router_posterior
from sona_pg.learning.routing.forgotten import Forgotten
from sona_pg.learning.routing.overruling import held_by_later, overruled, reconsidered
from sona_pg.learning.routing.router import RouterState
from sona_pg.learning.routing.router_basis import Basis, Doubles, Floats
from sona_pg.learning.routing.router_costs import changed_costs, cost_weights
from sona_pg.learning.routing.router_curve import curve_of
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_kernel import Widths
from sona_pg.learning.routing.router_posterior import Posterior, Statistics
from sona_pg.learning.routing.router_sums import add_costs, add_events

FIRST_BASIS = 64  # events; below it only the routes' means are learned
FIRST_BASIS_FREE = 32  # the same where no cost is known: under a budget fewer lose (EVIDENCE.md)
FIRST_TUNED = 64  # events; below it the prior variances stay as they are
ESTRANGED = 1.25, 0.05  # factor and offset by which new queries may be worse explained than the basis' own


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """Bounds of a fit. A state takes 4·landmarks·(dim + width) + 4·routes·width² bytes.

    Once routes have changed, 4·(2·routes + 1)·width bytes are added for each of up to 256 changed directions.
    """

    landmarks: int = 768
    width: int = 384
    linear_width: int = 384  # of a basis with a linear part, where the events are more likely in it
    gram_bytes: int = 16_000_000  # with many routes the width shrinks to stay below it
    memory: float = float("inf")  # events after which old evidence counts 1/e; infinite: nothing is forgotten

    def __post_init__(self) -> None:
        if not (
            1 <= self.width <= self.landmarks <= 8192
            and self.linear_width >= 1
            and self.gram_bytes >= 4096
            and self.memory > 0
        ):
            raise ConfigError(
                f"need 1 <= width <= landmarks <= 8192, linear_width >= 1, gram_bytes >= 4096, memory > 0; got {self}"
            )

    def widths_for(self, routes: int) -> Widths:
        """The widths at which the statistics of so many routes fit `gram_bytes`; LearningError if none does."""
        most = int((self.gram_bytes / (4 * routes)) ** 0.5) - 1
        if most < 1:
            raise LearningError(f"{routes} routes need more than {self.gram_bytes} gram_bytes; number them densely")
        return Widths(min(self.width, most), min(self.linear_width, most))


DEFAULT = RouterConfig()


def fit(
    state: RouterState,
    fresh: RouteEvents,
    replay: RouteEvents | None = None,
    config: RouterConfig = DEFAULT,
    seed: int | None = None,
    version: int = 0,
) -> RouterState:
    """The state after `fresh`, each event of which must be given once in the life of a state.

    `replay` is a sample of the events folded before, a few thousand at best, all of them while there are
    fewer. Deterministic for its arguments; `seed` defaults to the state's. `version` is the one that learns
    them, by which `revise` and `withdraw` tell events from those that were forgotten. Events that are not
    finite or whose quality leaves [0, 1] are counted in `set_aside` and otherwise ignored. Raises
    DimensionMismatch for another dimension.
    """
    clean = fresh.sound(state.dim)
    state = replace(state, set_aside=state.set_aside + len(fresh) - len(clean))
    if not len(clean):
        return state
    earlier = clean[:0] if replay is None else replay.sound(state.dim)
    routes = max(state.route_count, int(clean.route.max()) + 1)
    widths = config.widths_for(routes)
    sums = _widened(state, routes)
    basis, based_at, tuned_at, compared_at = state.basis, state.based_at, state.tuned_at, state.compared_at
    main, route = state.prior_main, state.prior_route
    folded = state.folded + len(clean)
    lost = state.forgotten.widened(routes)
    first = FIRST_BASIS if _knows_costs(state, clean) else FIRST_BASIS_FREE
    due, phi = _basis_is_due(state, clean, len(earlier) + len(clean), config, first)
    compared = router_kernel.is_compared(compared_at, folded, len(earlier) + len(clean))
    if due or compared:
        basis = router_kernel.best_basis(
            state.basis, earlier.followed_by(clean), config.landmarks, widths,
            (state.seed if seed is None else seed) + int(state.folded), due=due, compared=compared,
        )  # fmt: skip
        compared_at = folded if compared else compared_at
    if basis is not state.basis:
        based_at = folded
        if len(earlier) == state.folded and not len(lost) and np.isinf(config.memory):
            sums = add_events(Statistics.empty(routes, basis.width + 1), basis, earlier)
        else:
            m = _between(state.basis, basis, earlier.followed_by(clean))
            sums, lost = _carried(sums, m), lost.carried(m)
    elif basis.width > (width := widths.linear if basis.linear else widths.usual):
        basis = replace(basis, transform=basis.transform[:, :width])
        sums, lost = _narrowed(sums, width + 1), lost.narrowed(width + 1)
    if len(basis.landmarks) and basis is state.basis:
        phi = basis(clean.query, clean.features) if phi is None else phi
        gone = overruled(sums, state.weights, state.noise, clean, phi, version)
        lost = lost.followed_by(gone) if len(gone) else lost
    stale = _stale_costs(state, clean, phi)
    sums.paid[stale] = 0.0
    kept = float(np.exp(-len(clean) / config.memory))
    known = phi if basis is state.basis else None
    sums = add_events(Statistics(*(kept * part for part in sums)), basis, clean, known)
    seen = lost.seen(sums)
    if basis.width and (folded >= max(2 * tuned_at, FIRST_TUNED) or basis.linear != state.basis.linear):
        main, route = router_posterior.tune(seen, main, route, state.noise, 2.0 if tuned_at else 4.0)
        tuned_at = folded
    posterior = router_posterior.solve(seen, main, route, state.noise)
    return replace(
        state, **_solved(sums, seen, posterior), basis=basis, prior_main=main, prior_route=route,
        noise=router_posterior.residual(seen, posterior.weights, state.noise),
        folded=folded, based_at=based_at, tuned_at=tuned_at, compared_at=compared_at, forgotten=lost,
    )  # fmt: skip


def revise(state: RouterState, events: RouteEvents, before: Floats, paid: Floats | None = None) -> RouterState:
    """The state after events folded earlier changed to their current values.

    Their quality was `before` (n,), their real cost `paid` (n,), NaN where unknown; None: the cost has not changed.
    """
    known = np.isfinite(before) & (events.route < state.route_count)
    paid = events.paid if paid is None else paid
    events, had = events[np.flatnonzero(known)], before[known].astype(np.float64)
    if not len(events):
        return state
    sums, forgotten = _widened(state, state.route_count), state.forgotten
    held = held_by_later(forgotten, sums, state.noise)
    phi = state.basis(events.query, events.features)
    change = events.quality.astype(np.float64) - had
    earlier = None if paid is None else replace(events, paid=paid[known])
    if not len(forgotten):
        _add_changes(sums, events, had, earlier, phi)
    else:
        forgotten = forgotten.added(sums, (
            (first, _add_changes(_like(sums), events[rows], had[rows], earlier and earlier[rows], phi[rows]))
            for first, rows in _by_reduction(forgotten, events)
        ))  # fmt: skip
        forgotten = reconsidered(*forgotten.changed_by(phi, events, 0.0, -change, held), sums, state.noise)
    seen = forgotten.seen(sums) if len(state.forgotten) else sums
    posterior = router_posterior.solve(seen, state.prior_main, state.prior_route, state.noise)
    solved = _solved(sums, seen, posterior)
    if not len(state.forgotten):
        solved["variance"] = state.variance
    return replace(state, **solved, forgotten=forgotten)


def withdraw(state: RouterState, events: RouteEvents) -> RouterState:
    """The state after events that were folded earlier, with these qualities, are taken out again.

    A route that nothing is left of keeps its number and is as if it had never been tried; a state that nothing is left
    of is empty. The sums are exact to the rounding of single precision. Of an event that was forgotten in part both the
    rest and what was forgotten are taken out; what was forgotten of others counts again once no newer events contradict
    it without these.
    """
    events = events.sound(state.dim)
    events = events[np.flatnonzero(events.route < state.route_count)]
    if not len(events):
        return state
    sums, forgotten = _widened(state, state.route_count), state.forgotten
    held = held_by_later(forgotten, sums, state.noise)
    phi = state.basis(events.query, events.features)
    forgotten = forgotten.added(sums, (
        (first, Statistics(*(-part for part in add_events(_like(sums), state.basis, events[rows], phi[rows]))))
        for first, rows in _by_reduction(forgotten, events)
    ))  # fmt: skip
    if len(forgotten):
        quality = events.quality.astype(np.float64)
        forgotten = reconsidered(*forgotten.changed_by(phi, events, 1.0, quality, held), sums, state.noise)
    empty = forgotten.events_of(sums) < _HALF if len(forgotten) else sums.totals[:, 0] < _HALF
    if empty.all():
        return replace(RouterState.initial(state.dim, state.seed), set_aside=state.set_aside)
    for part in sums:
        part[empty] = 0.0
    forgotten = forgotten.without_routes(empty) if len(forgotten) else forgotten
    if not forgotten.in_force().any():
        for route in np.unique(events.route).tolist():
            sums.gram[route] = router_posterior.without_negative(sums.gram[route])
    seen = forgotten.seen(sums)
    posterior = router_posterior.solve(seen, state.prior_main, state.prior_route, state.noise)
    folded = max(state.folded - len(events), 0)
    return replace(state, **_solved(sums, seen, posterior), folded=folded, forgotten=forgotten)


def _by_reduction(forgotten: Forgotten, events: RouteEvents) -> list[tuple[int, NDArray[np.intp]]]:
    """Return the rows of events that come to the same reduction first, and which that is."""
    first = forgotten.first_after(events)
    return [(each, np.flatnonzero(first == each)) for each in np.unique(first).tolist()]


_HALF = 0.5  # of an event: less is rounding


def _basis_is_due(
    state: RouterState, fresh: RouteEvents, readable: int, config: RouterConfig, first: int
) -> tuple[bool, Floats | None]:
    """At most once per doubling of the events, so that its cost vanishes in the long run; at first with ``first``.

    It comes with the fresh events in the state's basis, where they were needed to tell.
    """
    basis, marks = state.basis, len(state.basis.landmarks)
    if not marks:
        return readable >= first, None
    if fresh.features is not None and fresh.features.shape[1] and not len(basis.feature_mean):
        return True, None
    if state.folded + len(fresh) < 2 * state.based_at or readable < 2 * first:
        return False, None
    if marks < config.landmarks and readable >= 2 * marks:
        return True, None
    known = basis(fresh.query, fresh.features)
    phi = known[:, 1:]
    factor, offset = ESTRANGED
    estranged = float(1 - np.einsum("ij,ij->i", phi, phi).mean()) > factor * basis.unexplained + offset
    return estranged, known


def _knows_costs(state: RouterState, fresh: RouteEvents) -> bool:
    """Return whether a cost is known of an event, learned or fresh, as it is wherever a budget counts."""
    costs = fresh.known_cost()
    return bool(state.totals[:, 2].any()) or (costs is not None and bool(np.isfinite(costs).any()))


def _widened(state: RouterState, routes: int) -> Statistics:
    """A copy of the state's sums in double precision, with room for routes that are new."""
    sums, old = Statistics.empty(routes, state.gram.shape[1]), state.route_count
    sums.gram[:old], sums.moment[:old] = state.gram, state.moment
    sums.square[:old], sums.totals[:old], sums.paid[:old] = state.square, state.totals, state.paid
    return sums


def _narrowed(sums: Statistics, p: int) -> Statistics:
    return sums._replace(
        gram=sums.gram[:, :p, :p].copy(), moment=sums.moment[:, :p].copy(), paid=sums.paid[..., :p].copy()
    )


def _like(sums: Statistics) -> Statistics:
    """Return sums of nothing, of the same routes and in the same basis."""
    return Statistics.empty(*sums.moment.shape)


def _add_changes(
    sums: Statistics, events: RouteEvents, before: Doubles, earlier: RouteEvents | None, phi: Floats
) -> Statistics:
    """Return ``sums``, changed in place, after events (n,) had the quality ``before`` and costs of ``earlier``."""
    change = events.quality.astype(np.float64) - before
    np.add.at(sums.moment, events.route, change[:, None] * phi)
    np.add.at(sums.square, events.route, events.quality.astype(np.float64) ** 2 - before**2)
    np.add.at(sums.totals[:, 1], events.route, change * phi[:, 0])
    if earlier is not None:
        for sign, costs in ((1.0, events), (-1.0, earlier)):
            add_costs(sums, costs, sign * np.ones(len(costs)), phi)
    return sums


def _stale_costs(state: RouterState, fresh: RouteEvents, known: Floats | None) -> list[int]:
    """Return the routes whose learned costs no longer hold; `known` are the events in the state's basis, if known."""
    if fresh.paid is None or not (state.least >= 0).any():
        return []
    phi = state.basis(fresh.query, fresh.features) if known is None else known
    return changed_costs(fresh, phi, state.cost_weights, state.least, state.paid)


def _solved(sums: Statistics, seen: Statistics, posterior: Posterior) -> dict[str, Any]:
    """Return the fields of a state with these sums, and with what is learned of them as they are ``seen``."""
    costs, least = cost_weights(seen.gram, seen.totals, seen.paid)
    return {
        "gram": sums.gram.astype(np.float32), "moment": sums.moment, "square": sums.square, "totals": seen.totals,
        "paid": sums.paid, "cost_weights": costs, "least": least, "weights": posterior.weights.astype(np.float32),
        "variance": posterior.variance.astype(np.float32), "curve": curve_of(seen, posterior.weights),
    }  # fmt: skip


def _between(old: Basis, new: Basis, pool: RouteEvents) -> Doubles:
    """The map M of one basis to another, φ_new ≈ φ_old·M, by ridge on the pool."""
    known = pool.features if len(old.feature_mean) == len(new.feature_mean) else None
    before = old(pool.query, known).astype(np.float64)
    after = new(pool.query, pool.features).astype(np.float64)
    ridge = 1e-3 * np.eye(before.shape[1])
    return np.asarray(np.linalg.solve(before.T @ before + ridge, before.T @ after), np.float64)


def _carried(sums: Statistics, m: Doubles) -> Statistics:
    """The sums of a history that is not read again, in a new basis."""
    return sums._replace(gram=m.T @ sums.gram @ m, moment=sums.moment @ m, paid=sums.paid @ m)
