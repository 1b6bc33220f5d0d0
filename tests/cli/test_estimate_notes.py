"""The table of `sona-pg evaluate` explains itself: its columns, its empty rows, and the decisions that count."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import numpy as np

from sona_pg.cli.estimate_notes import estimate_notes
from sona_pg.domain.policy_estimate import PolicyEstimate, PolicyEvaluation

NEVER = datetime(2026, 11, 22, tzinfo=UTC)
NO_DECISION = "no logged decision that it has not learned from"


def estimate(policy, decisions, refused=""):
    numbers = [float("nan") if refused else 0.5] * 8
    rows = np.arange(decisions)
    return PolicyEstimate(policy, *numbers, decisions, refused, rows, np.ones((decisions, 1)))


def evaluation(*estimates, learned_from=0, left_out=0):
    ids = tuple(UUID(int=number) for number in range(estimates[0].decisions))
    return PolicyEvaluation(estimates, ("a",), ids, NEVER, NEVER, learned_from, left_out)


def test_an_empty_row_comes_with_its_reason():
    rows = estimate("logged", 4), estimate("version 3 (live)", 0, NO_DECISION)
    notes = list(estimate_notes(evaluation(*rows)))
    assert f"no estimate of version 3 (live): {NO_DECISION}" in notes
    assert "a version is evaluated on decisions that it has not learned from: see decisions" in notes


def test_the_decisions_that_do_not_count_are_told():
    notes = list(estimate_notes(evaluation(estimate("logged", 4), learned_from=2, left_out=3)))
    (told,) = [note for note in notes if "logged decisions are evaluated" in note]
    assert told.startswith("4 of 9 logged decisions are evaluated: 2 earlier ones")
    assert "3 have no rating yet" in told
    assert not [note for note in notes if note.startswith("no estimate")]


def test_every_figure_of_the_comparison_is_explained():
    notes = "\n".join(estimate_notes(evaluation(estimate("logged", 4))))
    for name in ("quality", "low", "high", "ips", "snips", "effective_size"):
        assert name in notes
