"""Off-policy evaluation of routing policies on the logged decisions of a space."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.domain.ids import made_at
from sona_pg.domain.ledger_slice import Trajectories
from sona_pg.domain.policy_estimate import PolicyEstimate, PolicyEvaluation
from sona_pg.domain.space import Space
from sona_pg.errors import InvalidValue, LearningError
from sona_pg.learning.knowledge import router_of
from sona_pg.learning.routing.learned_router import CONFIG, Judged
from sona_pg.learning.routing.off_policy import EFFECTIVE_FLOOR, doubly_robust, ips, snips
from sona_pg.learning.routing.policies import (
    DecisionLog,
    Doubles,
    always,
    budgeted,
    cheapest,
    cross_fitted,
    first_judged,
    greedy,
    unconditional,
)
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.store.database import Database
from sona_pg.store.decisions import LoggedDecisions
from sona_pg.worker.threads import one_thread
from sona_pg.worker.uncovered import uncovered_share, widened

LOGGED = "logged"  # the logged policy

_Policy = tuple[Doubles, NDArray[np.intp], float | None]  # (n, k) probabilities, its decisions, and its budget


class _Read(NamedTuple):
    """The usable logged decisions."""

    log: DecisionLog  # its costs are not known yet
    names: tuple[str, ...]  # of the routes
    stored: Trajectories
    rows: NDArray[np.intp]  # (n,) rows of ``stored`` that are in the log


def evaluate(
    database: Database,
    space: Space,
    config: SonaConfig,
    *,
    since: datetime,
    live_version: int,
    versions: Sequence[int] = (),
    budgets: Sequence[float] = (),
    budget_shares: Sequence[float] = (),
    costs: Mapping[str, float] | None = None,
    limit: int = 20_000,
) -> PolicyEvaluation:
    """Estimate policies on the decisions since ``since``; see ``SonaEngine.evaluate_policies``."""
    for budget in budgets:
        _require_amount("budget", budget)
    for share in budget_shares:
        _require_amount("budget_shares", share)
    for name, cost in (costs or {}).items():
        _require_amount(f"costs[{name!r}]", cost)
    read = _usable(database.decisions(space, limit))
    n = len(read.log)
    stored_at = np.array([made_at(of).timestamp() for of in read.stored.uuids()])
    begun = stored_at[read.rows]
    inside = int(np.searchsorted(begun, since.timestamp()))
    start = first_judged(read.log, inside)
    gone = database.overview.not_offered(space)
    logged_log = dataclasses.replace(read.log, costs=_costs(read.names, read.log.events, start, costs, gone))
    log = _without(logged_log, read.names, gone)
    unknown = [name for name, cost in zip(read.names, log.costs, strict=True) if np.isnan(cost)]
    if budget_shares and unknown:
        raise LearningError(f"no decision of space {space.name!r} has told what {', '.join(map(repr, unknown))} costs")
    if budgets and unknown:
        raise InvalidValue(
            f"a budget needs the cost of every route, and none was logged for {', '.join(map(repr, unknown))}: "
            f"pass costs={{{unknown[0]!r}: …}}, on the command line --cost {unknown[0]}=…, for every route"
        )
    if inside == n:
        raise LearningError(
            f"space {space.name!r} has no judged decision since {since:%Y-%m-%d %H:%M}: begin "
            "trajectories with the decision that routing them gave, and judge them at their end or by feedback"
        )
    judged = np.arange(start, n)
    logged = _logged(logged_log, judged, start, tells_cost=not unknown)
    able = judged[log.offered[judged].any(axis=1)]  # with a route that is still offered
    if not len(able):
        raise LearningError(f"no judged decision of space {space.name!r} had a route that is still offered")
    if budget_shares and np.isnan(logged.cost):
        raise LearningError(f"budget_shares are of what was spent, and no decision of space {space.name!r} tells that")
    shares = [share * logged.cost for share in budget_shares]
    least = cheapest(_part(log, able)) if shares else 0.0
    with one_thread():
        model = cross_fitted(log, start, CONFIG, config.loops.seed)
        policies = _own_policies(log, able, model, read.names, [*budgets, *(one for one in shares if one >= least)])
        for version in dict.fromkeys([live_version, *versions] if live_version else versions):
            expected = _expected(database, space, config, version, read)
            new = able[database.not_learned_by(space, version, read.stored)[read.rows][able]]
            label = f"version {version}" + (" (live)" if version == live_version else "")
            policies[label] = (_within(log, new, expected, None), new, None)
            for budget in budgets:
                policies[f"{label}, budget {budget:g}"] = (_within(log, new, expected, budget), new, budget)
    ids = read.stored.uuids()
    return PolicyEvaluation(
        estimates=(
            logged,
            *(_estimate(name, log, policy, model, rows, start, of) for name, (policy, rows, of) in policies.items()),
            *(_impossible(one, least, log) for one in shares if one < least),
        ),
        routes=read.names,
        trajectories=tuple(ids[read.rows[row]] for row in judged),
        since=datetime.fromtimestamp(begun[start], UTC),
        until=datetime.fromtimestamp(begun[-1], UTC),
        learned_from=start,
        left_out=int(np.count_nonzero(stored_at >= since.timestamp())) - (n - inside),
        not_offered=tuple(name for name in read.names if name in gone),
        paid=_paid(read.log.events[judged]),
    )


def _paid(events: RouteEvents) -> float:
    """Return the mean real cost of those that told one; NaN if none did."""
    if events.paid is None or not np.isfinite(events.paid).any():
        return float("nan")
    return float(events.paid[np.isfinite(events.paid)].mean(dtype=np.float64))


def _own_policies(
    log: DecisionLog, rows: NDArray[np.intp], model: Doubles, names: Sequence[str], budgets: Sequence[float]
) -> dict[str, _Policy]:
    """Return the policies that need no stored version: each route alone, the router, and each budget spent two ways."""
    policies: dict[str, _Policy] = {
        f"always {name}": (always(log, place), rows, None)
        for place, name in enumerate(names)
        if log.offered[rows, place].any()
    }
    policies["router, learning as it goes"] = (_within(log, rows, model, None), rows, None)
    for budget in budgets:
        policies[f"router, budget {budget:g}"] = (_within(log, rows, model, budget), rows, budget)
    # By the same expectations as the router, so that they differ by the choice alone. Shares that the outcomes
    # themselves chose would look better than they are.
    blind = np.zeros(model.shape)
    blind[rows] = unconditional(_part(log, rows), model[rows])
    for budget in budgets:
        policies[f"constant mix, budget {budget:g}"] = (_within(log, rows, blind, budget), rows, budget)
    return policies


def _without(log: DecisionLog, names: Sequence[str], gone: Collection[str]) -> DecisionLog:
    """Return the log with only those candidates that are still offered: no other can be chosen from now on."""
    stays = np.array([name not in gone for name in names], bool)
    return dataclasses.replace(log, offered=log.offered & stays, costs=np.where(stays, log.costs, 0.0))


def _require_amount(what: str, value: float) -> None:
    if not isinstance(value, int | float | np.number) or not 0 <= value < np.inf:
        raise InvalidValue(f"{what} is {value!r}: expected a finite number, 0 or more")


def _usable(found: LoggedDecisions) -> _Read:
    """Return the decisions with known outcome and propensity, and their candidate routes."""
    stored, outcomes, sets = found
    judged = Judged(stored, outcomes)
    positive = stored.propensity > 0
    rows = np.array([row for row in judged.routed() if positive[row]], np.intp)
    names = tuple(dict.fromkeys(str(stored.routes[row]) for row in rows))
    for members in sets.values():
        names += tuple(name for name in members if name not in names)
    index = {name: place for place, name in enumerate(names)}
    events = judged.events(index, stored.features.shape[1], rows.tolist())
    offered = np.ones((len(rows), len(names)), bool)
    masks = {key: np.isin(names, members) for key, members in sets.items()}
    for place, row in enumerate(rows):
        known = masks.get(int(stored.candidate_sets[row]))
        if known is not None:
            offered[place] = known
    return _Read(DecisionLog(events, offered, np.full(len(names), np.nan)), names, stored, rows)


def _costs(
    names: Sequence[str], events: RouteEvents, start: int, given: Mapping[str, float] | None, gone: Collection[str]
) -> Doubles:
    """Return the cost of each route: as given, else its mean from row ``start`` on, the real one where it is known.

    Prices change: earlier decisions tell the cost only of a route of which no later one does. NaN: none does.
    """
    if given is not None:
        missing = [name for name in names if name not in given and name not in gone]
        if missing:
            raise InvalidValue(f"costs has no entry for {', '.join(map(repr, missing))}: expected one for every route")
        return np.array([given.get(name, np.nan) for name in names], np.float64)
    means = np.full(len(names), np.nan)
    costs = events.known_cost()
    if costs is not None:
        for place in range(len(names)):
            known = np.flatnonzero((events.route == place) & np.isfinite(costs))
            judged = known[known >= start]
            told = costs[judged if len(judged) else known]
            if len(told):  # stored in single precision, which has seven digits
                means[place] = float(f"{told.mean(dtype=np.float64):.7g}")
    return means


def _part(log: DecisionLog, rows: NDArray[np.intp]) -> DecisionLog:
    return DecisionLog(log.events[rows], log.offered[rows], log.costs)


def _within(log: DecisionLog, rows: NDArray[np.intp], expected: Doubles, budget: float | None) -> Doubles:
    """Return the greedy policy (n, k) on ``rows``, within a budget if there is one; 0 elsewhere."""
    policy = np.zeros(log.offered.shape)
    if len(rows):
        part = _part(log, rows)
        policy[rows] = greedy(part, expected[rows]) if budget is None else budgeted(part, expected[rows], budget)
    return policy


def _expected(database: Database, space: Space, config: SonaConfig, version: int, read: _Read) -> Doubles:
    """Return the quality (n, k) of every route at every decision, as predicted by a stored version."""
    router = router_of(database.load_version(space, version), config)
    events = read.log.events
    told = events.features
    features = told if told is not None and told.shape[1] == router.width else None
    return np.clip(router.state.predict(events.query, features, router.known(read.names)), 0, 1)


def _logged(log: DecisionLog, rows: NDArray[np.intp], start: int, *, tells_cost: bool) -> PolicyEstimate:
    """Return the mean outcome of the logged policy, which needs neither model nor weights.

    Its cost is that of the decisions whose route's cost is known: a route that is gone may have told none.
    """
    events = log.events[rows]
    costs = log.costs[events.route]
    known = costs[np.isfinite(costs)]
    own = np.ones(len(rows))
    mean = ips(events.quality, own, own)
    taken = np.zeros((len(rows), log.offered.shape[1]))
    taken[np.arange(len(rows)), events.route] = 1.0
    return PolicyEstimate(
        LOGGED, mean.value, mean.low, mean.high, float(known.mean()) if tells_cost and len(known) else float("nan"),
        mean.value, mean.value, mean.effective_size, 1.0, mean.events, mean.refused, rows - start, taken,
    )  # fmt: skip


def _estimate(
    name: str,
    log: DecisionLog,
    policy: Doubles,
    model: Doubles,
    rows: NDArray[np.intp],
    start: int,
    budget: float | None,
) -> PolicyEstimate:
    """Return the estimates for a policy (n, k) on those of ``rows`` where it takes an offered route."""
    rows = rows[policy[rows].sum(axis=1) > 0]
    target, events = policy[rows], log.events[rows]
    at = np.arange(len(rows)), events.route
    assert events.propensity is not None
    logged = events.quality, np.minimum(events.propensity, 1.0), target[at]
    expected = (target * model[rows]).sum(axis=1)
    robust = doubly_robust(*logged, model[rows][at], expected)
    weights = logged[2] / logged[1]
    uncovered = uncovered_share(weights)
    elsewhere = expected[weights == 0]  # the log took another route
    low, high = widened(robust.low, robust.high, uncovered, float(elsewhere.mean()) if len(elsewhere) else 0.5)
    cost = float((target @ log.costs).mean()) if np.isfinite(log.costs).all() and len(rows) else float("nan")
    return PolicyEstimate(
        policy=name,
        quality=robust.value,
        low=low,
        high=high,
        cost=cost,
        ips=ips(*logged).value,
        snips=snips(*logged).value,
        effective_size=robust.effective_size,
        largest_weight=robust.largest_weight,
        decisions=len(rows),
        refused=robust.refused and _too_little(len(rows), robust.effective_size),
        rows=rows - start,
        probabilities=target,
        budget=budget,
        uncovered=uncovered,
    )


def _impossible(budget: float, least: float, log: DecisionLog) -> PolicyEstimate:
    """Return the refusal of a budget that no choice of routes keeps."""
    nan = float("nan")
    return PolicyEstimate(
        f"router, budget {budget:g}", nan, nan, nan, nan, nan, nan, 0.0, 0.0, 0,
        f"not possible: the cheapest routes cost {least:.3g} a decision", np.zeros(0, np.intp),
        np.zeros((0, log.offered.shape[1])), budget,
    )  # fmt: skip


def _too_little(decisions: int, effective_size: float) -> str:
    if not decisions:
        return "no logged decision that it has not learned from"
    return (
        f"too little overlap with the logged policy: worth {effective_size:.0f} of {decisions} decisions, "
        f"and it takes {EFFECTIVE_FLOOR:g}"
    )
