"""Verdict of a trajectory: success, partial, failure, or recovered."""

from __future__ import annotations

from sona_pg.config import PatternConfig
from sona_pg.domain.ledger_slice import Outcome
from sona_pg.domain.trajectory import QueryTrajectory
from sona_pg.domain.verdict import Verdict

ROUNDING = 1e-6  # qualities are kept in single precision: a quality told as 0.7 must reach 0.7


def judge(outcome: Outcome, lowest_reward: float, config: PatternConfig) -> Verdict | None:
    """Return the verdict on a trajectory, or None without a rating.

    Args:
        outcome: with all feedback; its quality is None or NaN: unknown. One whose answer was corrected is a failure,
            also if others liked the answer.
        lowest_reward: of its steps; NaN if it has none.
        config: the thresholds.
    """
    quality, worst = outcome.quality, outcome.worst
    if quality is None or quality != quality:
        return None
    if outcome.is_replaced or quality <= config.failure_quality + ROUNDING:
        return "failure"
    if quality < config.success_quality - ROUNDING:
        return "partial"
    failed_before = worst is not None and worst <= config.failure_quality + ROUNDING
    return "recovered" if failed_before or lowest_reward < config.failing_reward - ROUNDING else "success"


def judge_trajectory(trajectory: QueryTrajectory, config: PatternConfig) -> Verdict | None:
    """Return the verdict on a trajectory in memory, which has no feedback."""
    rewards = [step.reward for step in trajectory.steps]
    return judge(Outcome(trajectory.quality), min(rewards, default=float("nan")), config)
