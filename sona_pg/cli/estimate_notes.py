"""Notes under the table of `sona-pg evaluate`: its columns, its empty rows, and the decisions that count."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from sona_pg.domain.policy_estimate import PolicyEvaluation

SMALL = 0.005  # share of decisions, not worth a note
COLUMNS = (
    "quality, low, high: mean quality a decision if the policy had decided, and its 95 % interval (doubly robust: by a "
    "model of the ratings, corrected by the log)",
    "ips, snips: the same from the log alone, each decision weighed by how much likelier the policy takes the logged "
    "route (snips: weights that sum to one), for comparison: far from quality, they say that the model is much of it",
    "effective_size: how many decisions of the policy's own the weighed log is worth",
)


def _on_prices(judged: PolicyEvaluation) -> Iterator[str]:
    """Yield what the decisions really cost, where the routes' prices tell otherwise."""
    by_price = judged[0].cost  # of the logged policy
    if math.isfinite(judged.paid) and math.isfinite(by_price) and not math.isclose(judged.paid, by_price, rel_tol=0.01):
        yield (
            f"cost is by the routes' prices, so that policies compare: by them a logged decision cost {by_price:.3g}; "
            f"{judged.paid:.3g} was really paid"
        )


def estimate_notes(judged: PolicyEvaluation) -> Iterator[str]:
    """Yield the notes, a line each."""
    yield from COLUMNS
    earlier = f"{judged.learned_from} earlier ones serve to fit the models alone" if judged.learned_from else ""
    left_out = f"{judged.left_out} have no rating yet, or no propensity that can be used" if judged.left_out else ""
    told = "; ".join(part for part in (earlier, left_out) if part)
    count = len(judged.trajectories)
    yield f"{count} of {count + judged.learned_from + judged.left_out} logged decisions are evaluated" + (
        f": {told}" if told else ""
    )
    if any(estimate.decisions < count for estimate in judged):
        yield "a version is evaluated on decisions that it has not learned from: see decisions"
    for estimate in judged:
        if estimate.uncovered > SMALL and not estimate.refused:
            yield (
                f"{estimate.policy}: at {estimate.uncovered:.0%} of the decisions the log hardly ever takes its route; "
                "there quality is the model's guess, and the interval allows for any"
            )
    yield from _on_prices(judged)
    if judged.not_offered:
        yield f"no longer offered, so that only the logged policy takes it: {', '.join(judged.not_offered)}"
    if judged.left_out > len(judged.trajectories) // 10:
        yield "figures are of rated decisions: where good and bad ones are rated unequally often, others may differ"
    reasons = defaultdict(list)
    for estimate in judged:
        if estimate.refused:
            reasons[estimate.refused].append(estimate.policy)
    for reason, policies in reasons.items():
        yield f"no estimate of {', '.join(policies)}: {reason}"
