"""Verdict of a trajectory: success, partial, failure, or recovered."""

from __future__ import annotations

from sona_pg.config import PatternConfig
from sona_pg.domain.trajectory import QueryTrajectory
from sona_pg.domain.verdict import Verdict

ROUNDING = 1e-6  # qualities are kept in single precision: a quality told as 0.7 must reach 0.7


def judge(quality: float | None, worst: float | None, lowest_reward: float, config: PatternConfig) -> Verdict | None:
    """Return the verdict on a trajectory, or None without a rating.

    Args:
        quality: the current outcome, with all feedback; None or NaN: unknown.
        worst: the lowest earlier quality, at its end or by feedback replaced since.
        lowest_reward: of its steps; NaN if it has none.
        config: the thresholds.
    """
    if quality is None or quality != quality:
        return None
    if quality <= config.failure_quality + ROUNDING:
        return "failure"
    if quality < config.success_quality - ROUNDING:
        return "partial"
    failed_before = worst is not None and worst <= config.failure_quality + ROUNDING
    return "recovered" if failed_before or lowest_reward < config.failing_reward - ROUNDING else "success"


def judge_trajectory(trajectory: QueryTrajectory, config: PatternConfig) -> Verdict | None:
    """Return the verdict on a trajectory in memory, which has no feedback."""
    rewards = [step.reward for step in trajectory.steps]
    return judge(trajectory.quality, None, min(rewards, default=float("nan")), config)
