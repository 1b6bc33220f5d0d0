"""Calls that choose a route, and that evaluate routing policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import ArrayLike

from sona_pg.domain.answer import Decision
from sona_pg.domain.policy_estimate import PolicyEvaluation
from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.errors import ConfigError, InvalidValue
from sona_pg.serving.arguments import as_vector, require_amount, require_version
from sona_pg.text.features import query_features


class RoutingCalls(EngineLifetime):
    """Calls about routes."""

    def route(
        self,
        x: ArrayLike,
        candidates: Sequence[str],
        *,
        query: str | None = None,
        features: ArrayLike | None = None,
        costs: Mapping[str, float] | None = None,
        budget: float | None = None,
        cost_weight: float = 0.0,
        latency_weight: float = 0.0,
    ) -> Decision:
        """Choose one of ``candidates`` for ``x`` (dim,); pass the decision to ``begin_trajectory``.

        Args:
            x: the query's embedding.
            candidates: the routes to choose from.
            query: the text of ``x``, if any: its length and its shares of digits and symbols indicate its difficulty
                better than the embedding does. These features are stored with the decision, the text is not.
            features: (f,) numbers to use instead; the same ones in every call of the space.
            costs: an estimate of the cost of each, for this query; it is corrected by the real costs of earlier ones.
                A budget needs it until real costs were learned.
            budget: the mean cost that may be spent per decision: the estimate counts until ``end_trajectory`` tells the
                real cost. By default the budget of the space holds, if it has one (``set_budget``).
            cost_weight, latency_weight: reduction of the quality per unit of cost, and per second of latency.

        Raises:
            InvalidValue: even the cheapest routes cost more than the budget, or an argument is invalid.
            DimensionMismatch: the router has learned from another number of features.
        """
        session = self._session
        serving = session.serving
        told = None
        if features is not None:
            told = as_vector(features, np.size(features), "features")
        elif query is not None:
            try:
                told = query_features(query)
            except TypeError as exc:
                raise InvalidValue(f"query={query!r}: expected a text") from exc
        try:
            return session.chooser.choose(
                session.routing.router(serving), serving.version, x, candidates,
                features=told, costs=costs, budget=budget, cost_weight=cost_weight, latency_weight=latency_weight,
            )  # fmt: skip
        except InvalidValue:
            raise
        except (TypeError, ValueError, OverflowError, ConfigError):
            # The arguments are checked only after a failure: a decision takes microseconds.
            _require_numbers(costs, budget, cost_weight=cost_weight, latency_weight=latency_weight)
            raise

    def evaluate_policies(
        self,
        *,
        days: float = 30.0,
        since: datetime | None = None,
        versions: Sequence[int] = (),
        budgets: Sequence[float] = (),
        budget_shares: Sequence[float] = (),
        costs: Mapping[str, float] | None = None,
        limit: int = 20_000,
    ) -> PolicyEvaluation:
        """Estimate the quality of other policies on the logged decisions: always one route, the router, a budget.

        Off-policy evaluation by the doubly robust estimator (Dudik, Langford and Li 2011) with its 95 % interval,
        beside IPS and SNIPS; a policy with too little support in the log has no estimate, but a reason. The policies
        are the logged one; every route alone; the router as it learns, always from earlier decisions; the live
        version and those of ``versions``, each on the decisions it has not learned from; and for each budget the
        router, and the constant mix of routes that it expects most of. Routers are evaluated without exploration.
        Routes that are no longer offered are taken by the logged policy alone. Call ``flush`` first to include the
        latest records.

        Args:
            days: length of the evaluated period, up to now.
            since: its begin, in place of ``days``.
            versions: stored versions to evaluate beside the live one.
            budgets: mean costs per decision, for which to evaluate the router and the versions as well.
            budget_shares: the same as shares of what the logged decisions cost: .5 is half of it. One that even the
                cheapest routes exceed has no estimate, but a reason.
            costs: price of every route; by default its mean cost in the evaluated decisions. The cost of every policy
                is by these prices, the logged one's as well; ``paid`` of the result is what was really paid.
            limit: decisions read at most, the newest.

        Raises:
            LearningError: no decision of that time has a propensity and an outcome.
            InvalidValue: a budget cannot be kept, or a cost is missing.
            DatabaseError: a version no longer exists.
        """
        if not 0 < days < 36_500 or limit < 1:
            raise InvalidValue(f"days={days!r}, limit={limit!r}: expected positive numbers, days below 36500")
        if since is None:
            since = datetime.now(UTC) - timedelta(days=days)
        elif since.tzinfo is None:
            raise InvalidValue(f"since={since!r}: expected a time with a time zone")
        wanted = [require_version(version, "versions") for version in versions]
        return self._session.evaluate(
            since=since, versions=wanted, budgets=budgets, budget_shares=budget_shares, costs=costs, limit=limit
        )


def _require_numbers(costs: Mapping[str, float] | None, budget: float | None, **weights: float) -> None:
    """Raise ``InvalidValue`` for the argument of ``route`` with which no decision can be computed."""
    if costs is not None and not isinstance(costs, Mapping):
        raise InvalidValue(f"costs={costs!r}: expected {{route: cost, …}}")
    if budget is not None:
        require_amount(budget, "budget")
    for name, weight in weights.items():
        require_amount(weight, name)
