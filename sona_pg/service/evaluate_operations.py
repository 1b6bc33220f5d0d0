"""Operation that estimates other routing policies and other budgets from the log."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, Field

from sona_pg.domain.policy_estimate import PolicyEvaluation
from sona_pg.errors import LearningError
from sona_pg.learning.routing.off_policy import EFFECTIVE_FLOOR
from sona_pg.limits import MOST_INT8
from sona_pg.service.operations import Call, Operations
from sona_pg.service.wire_vectors import STRICT

operations = Operations("evaluate")

MOST_DECISIONS = 20_000  # of one request
MOST_POLICIES = 20  # budgets, shares or versions of one request
MOST_COST = 1e12

Cost = Annotated[float, Field(ge=0, le=MOST_COST)]
Version = Annotated[int, Field(ge=0, le=MOST_INT8)]


class EvaluateBody(BaseModel):
    """The time to look at, and the policies to estimate besides those that are always there."""

    model_config = STRICT

    days: Annotated[float, Field(gt=0, le=3650)] = 30.0
    since: AwareDatetime | None = None  # begin of the period, in place of `days`
    budgets: Annotated[list[Cost], Field(max_length=MOST_POLICIES)] = Field(default_factory=list)  # mean of a decision
    # Of what the logged decisions cost: 0.5 is half of it.
    budget_shares: Annotated[list[Annotated[float, Field(ge=0, le=1000)]], Field(max_length=MOST_POLICIES)] = Field(
        default_factory=list
    )
    versions: Annotated[list[Version], Field(max_length=MOST_POLICIES)] = Field(default_factory=list)
    costs: dict[str, Cost] | None = None  # of every route; null: its mean cost in the evaluated decisions
    limit: Annotated[int, Field(ge=1, le=MOST_DECISIONS)] = MOST_DECISIONS  # decisions, the newest


class PolicyAnswer(BaseModel):
    """Estimate of one policy, per decision; null: there is none, and `refused` says why."""

    policy: str
    budget: float | None
    quality: float | None  # doubly robust
    low: float | None  # 95 % interval, wider by what the log does not cover
    high: float | None
    cost: float | None  # by the prices of its routes, those of `costs` if they are given
    ips: float | None
    snips: float | None
    effective_size: float
    largest_weight: float
    uncovered: float  # share of its decisions at which the log hardly ever takes its routes
    decisions: int
    routes: dict[str, float]  # share of the decisions, the largest first
    refused: str


class EvaluateAnswer(BaseModel):
    """Estimates, the first of the logged policy; none where the log has no evidence, and `refused` says why."""

    estimates: list[PolicyAnswer]
    refused: str
    decisions: int  # that policies are estimated on
    learned_from: int  # earlier ones, used only to fit the models
    left_out: int  # without a rating yet, or a propensity
    since: datetime | None
    until: datetime | None
    not_offered: list[str]  # routes of these decisions that are no longer offered: only the logged policy takes them
    paid: float | None  # mean real cost of the decisions that told one; null: none did
    least_size: float  # effective size below which a policy has no estimate


@operations.add("POST", "/v1/evaluate", scope="read", body=EvaluateBody, answer=EvaluateAnswer, waits=True)
async def evaluate(call: Call[EvaluateBody]) -> Any:
    """Estimate the quality of other policies on the logged decisions: one route always, the router, a budget.

    Each budget twice: spent by the router, and as `constant mix` of routes, whatever is asked.

    The same estimates as `sona-pg evaluate`: doubly robust, with a 95 % interval, and the routes that would be chosen.
    """
    engine = await call.engine()
    try:
        judged = await engine.evaluate_policies(**call.body.model_dump())
    except LearningError as exc:
        nothing: dict[str, Any] = {"decisions": 0, "learned_from": 0, "left_out": 0, "since": None, "until": None}
        said: dict[str, Any] = {"not_offered": [], "paid": None, "least_size": EFFECTIVE_FLOOR, "refused": str(exc)}
        return nothing | said | {"estimates": []}
    return _told(judged)


def _told(judged: PolicyEvaluation) -> dict[str, Any]:
    return {
        "estimates": [one.as_dict() | {"routes": judged.route_shares(one)} for one in judged],
        "refused": "",
        "decisions": len(judged.trajectories),
        "learned_from": judged.learned_from,
        "left_out": judged.left_out,
        "since": judged.since,
        "until": judged.until,
        "not_offered": list(judged.not_offered),
        "paid": None if math.isnan(judged.paid) else judged.paid,
        "least_size": EFFECTIVE_FLOOR,
    }
