"""Calls that choose a route, and that judge how routes were chosen."""

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
        """Choose one of ``candidates`` for ``x`` (dim,); hand the decision to ``begin_trajectory``.

        Args:
            x: what is asked.
            candidates: the routes that may be taken.
            query: the text of ``x``, if there is one: its length and its shares of digits and symbols say more of
                how hard it is than the embedding does. They are stored with the decision, the text is not.
            features: (f,) numbers of your own to use instead; the same ones in every call of the space.
            costs: what each costs; needed for a budget.
            budget: the mean cost that may be spent per decision.
            cost_weight, latency_weight: what a unit of cost, and of latency in seconds, takes off the quality.

        Raises:
            InvalidValue: even the cheapest routes cost more than the budget, or an argument makes no sense.
            DimensionMismatch: the router was taught another number of features.
        """
        serving = self._session.serving
        told = None
        if features is not None:
            told = as_vector(features, np.size(features), "features")
        elif query is not None:
            try:
                told = query_features(query)
            except TypeError as exc:
                raise InvalidValue(f"query={query!r}: expected a text") from exc
        try:
            return self._session.chooser.choose(
                serving.router, serving.version, x, candidates,
                features=told, costs=costs, budget=budget, cost_weight=cost_weight, latency_weight=latency_weight,
            )  # fmt: skip
        except InvalidValue:
            raise
        except (TypeError, ValueError, OverflowError, ConfigError):
            # The arguments are looked at only now: a decision takes microseconds.
            _require_numbers(costs, budget, cost_weight=cost_weight, latency_weight=latency_weight)
            raise

    def evaluate_policies(
        self,
        *,
        days: float = 30.0,
        versions: Sequence[int] = (),
        budgets: Sequence[float] = (),
        costs: Mapping[str, float] | None = None,
        limit: int = 20_000,
    ) -> PolicyEvaluation:
        """Say what other policies would have earned on the logged decisions: always one route, the router, a budget.

        Off-policy evaluation by the doubly robust estimator (Dudik, Langford and Li 2011) with its 95 % interval,
        beside IPS and SNIPS; a policy that too little of what ran agrees with has no figure, and says why. The
        policies are the one that ran; every route alone; the router as it learns, always from earlier decisions;
        and the live version and those of ``versions``, each on the decisions it has not learned from. Routers are
        judged without their exploration. What was recorded last is seen after ``flush``.

        Args:
            days: how far to look back.
            versions: stored versions to judge beside the live one.
            budgets: mean costs per decision within which to judge the router and the versions as well.
            costs: of every route; by default the mean that was logged with it.
            limit: decisions read at most, the newest.

        Raises:
            LearningError: no decision of that time has a propensity and an outcome.
            InvalidValue: a budget cannot be kept, or a cost is missing.
            DatabaseError: a version is not there any more.
        """
        if not 0 < days < 36_500 or limit < 1:
            raise InvalidValue(f"days={days!r}, limit={limit!r}: expected positive numbers, days below 36500")
        since = datetime.now(UTC) - timedelta(days=days)
        wanted = [require_version(version, "versions") for version in versions]
        return self._session.evaluate(since=since, versions=wanted, budgets=budgets, costs=costs, limit=limit)


def _require_numbers(costs: Mapping[str, float] | None, budget: float | None, **weights: float) -> None:
    """Raise ``InvalidValue`` for the argument of ``route`` with which no decision can be computed."""
    if costs is not None and not isinstance(costs, Mapping):
        raise InvalidValue(f"costs={costs!r}: expected {{route: cost, …}}")
    if budget is not None:
        require_amount(budget, "budget")
    for name, weight in weights.items():
        require_amount(weight, name)
