"""Send hard questions to the strong model, within a budget, and learn which those are from outcomes alone.

Run it: python examples/router.py (extra embedded; or set SONA_PG_URL).
"""

from __future__ import annotations

import numpy as np

from sona_pg import SonaEngine

DIM = 32
COSTS = {"weak": 0.0, "strong": 1.0}
BUDGET = 0.4  # of the calls may go to the strong model


def main() -> None:
    """Route, answer, tell the outcome, learn; compare with chance at the same cost."""
    rng = np.random.default_rng(0)
    hardness = rng.standard_normal(DIM)  # the direction in which questions are hard: nobody tells the router

    with SonaEngine(hidden_dim=DIM, space="example-router") as engine:
        for round_ in range(6):
            right, by_chance, strong = [], [], []
            for _ in range(300):
                x = rng.standard_normal(DIM).astype(np.float32)
                chances = {"weak": 0.9 if x @ hardness < 0 else 0.3, "strong": 0.9}
                decision = engine.route(x, ["weak", "strong"], costs=COSTS, budget=BUDGET)
                outcome = float(rng.random() < chances[decision.route])
                t = engine.begin_trajectory(x, decision=decision)
                engine.end_trajectory(t, quality=outcome)
                right.append(outcome)
                strong.append(decision.route == "strong")
                by_chance.append(BUDGET * chances["strong"] + (1 - BUDGET) * chances["weak"])
            engine.force_learn()
            print(
                f"round {round_}: {np.mean(right):.0%} right with {np.mean(strong):.0%} strong calls"
                f" (by chance {np.mean(by_chance):.0%})"
            )


if __name__ == "__main__":
    main()
