"""Verdicts: conditions of success, failure and recovery, and their counts."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg import ConfigError, PatternConfig, QueryTrajectory, ReasoningBank, TrajectoryStep
from sona_pg.domain.judged import Fact
from sona_pg.domain.ledger_slice import Outcome
from sona_pg.domain.verdict import VERDICTS, VerdictCounts
from sona_pg.learning.patterns.verdicts import judge
from sona_pg.store.outcome_rows import outcome_by

CONFIG = PatternConfig(success_quality=0.7, failure_quality=0.3, failing_reward=0.0)


@pytest.mark.parametrize(
    ("quality", "worst", "lowest_reward", "verdict"),
    [
        (None, None, np.nan, None),
        (np.nan, 0.0, -1.0, None),
        (0.7, None, np.nan, "success"),
        (float(np.float32(0.7)), None, 0.0, "success"),
        (0.69, None, np.nan, "partial"),
        (float(np.float32(0.3)), None, np.nan, "failure"),
        (0.31, 0.0, -1.0, "partial"),
        (1.0, 0.3, np.nan, "recovered"),
        (1.0, 0.31, 0.5, "success"),
        (1.0, None, -0.1, "recovered"),
        (0.0, None, 1.0, "failure"),
    ],
)
def test_the_verdict_follows_from_outcome_history_and_rewards(quality, worst, lowest_reward, verdict):
    assert judge(Outcome(quality, worst=worst), lowest_reward, CONFIG) == verdict


@pytest.mark.parametrize(
    ("correction", "verdict", "quality"), [("fees", "failure", 0.5), ("limits", "success", 1.0), (None, "success", 1.0)]
)
def test_an_answer_that_was_corrected_to_another_failed_even_if_somebody_liked_it(correction, verdict, quality):
    agent = Fact("agent", 2, None if correction else 1.0, correction, True)
    outcome = outcome_by("limits", None, [Fact("user", 1, 1.0, None, True), agent])
    assert (judge(outcome, np.nan, CONFIG), outcome.quality) == (verdict, quality)
    mended = [Fact("agent", 3, None, None, True), agent, Fact("user", 1, 1.0, None, True)]
    assert judge(outcome_by("limits", None, mended), np.nan, CONFIG) == "success"  # the agent took it back


def test_a_bank_judges_trajectories_by_their_steps():
    bank = ReasoningBank()
    x = np.ones(4, np.float32)
    stumbled = (TrajectoryStep(x, reward=-1.0), TrajectoryStep(x, reward=1.0))
    assert bank.judge(QueryTrajectory(x, stumbled, quality=0.9)) == "recovered"
    assert bank.judge(QueryTrajectory(x, stumbled[1:], quality=0.9)) == "success"
    assert bank.judge(QueryTrajectory(x, stumbled)) is None


def test_counts_add_revise_and_name_the_prevailing_verdict():
    counts = VerdictCounts(success=1, failure=1)
    assert counts.prevailing == "failure"  # of equally frequent ones the worse
    assert counts.revised("failure", "recovered") == VerdictCounts(success=1, recovered=1)
    assert counts.revised(None, "success").prevailing == "success"
    assert counts.revised("partial", None) == counts  # a missing verdict cannot be subtracted
    assert (counts + counts).judged == 4
    assert VerdictCounts().prevailing is None
    assert [VerdictCounts(1, 2, 3, 4).of(verdict) for verdict in VERDICTS] == [1, 2, 3, 4]


@pytest.mark.parametrize("bounds", [(0.3, 0.3), (0.2, 0.5), (1.1, 0.3), (0.7, -0.1), (np.nan, 0.3)])
def test_thresholds_that_cannot_work_are_refused(bounds):
    with pytest.raises(ConfigError, match="success_quality"):
        PatternConfig(success_quality=bounds[0], failure_quality=bounds[1])
