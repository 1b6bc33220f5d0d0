"""Analytics in plain SQL: which kinds of question fail, on which route, with which settings.

Run it: python examples/analytics.py (extra embedded; or set SONA_PG_URL). psql and BI tools can ask the same.
"""

from __future__ import annotations

import numpy as np
import psycopg

from sona_pg import SonaEngine

SPACE = "example-analytics"
KINDS = {  # a kind of question: how good each route is at it, and with which temperature
    "write me a poem about rain": ({"small": 0.5, "large": 0.9}, 0.9),
    "what is the capital of France": ({"small": 0.95, "large": 0.7}, 0.1),
    "debug this python function": ({"small": 0.2, "large": 0.8}, 0.2),
}
QUESTIONS = {
    "Which kinds of question go badly?": """
        SELECT typical_queries[1] AS typical, kind, size, round(quality::numeric, 2) AS quality, verdict, verdicts
        FROM sona.pattern_summary WHERE space = %(space)s ORDER BY quality""",
    "Which route is best at each?": """
        SELECT DISTINCT ON (pattern_id) typical_queries[1] AS typical, route.key AS route,
            round((route.value ->> 'quality')::numeric, 2) AS quality
        FROM sona.pattern_summary, jsonb_each(routes) AS route
        WHERE space = %(space)s ORDER BY pattern_id, quality DESC""",
    "Which settings went well?": """
        SELECT typical_queries[1] AS typical, parameters FROM sona.pattern_summary WHERE space = %(space)s""",
    "How did quality develop?": """
        SELECT day, route, trajectories, round(quality::numeric, 2) AS quality
        FROM sona.quality_by_day WHERE space = %(space)s ORDER BY day, route""",
}


def record(engine: SonaEngine) -> None:
    """Answer three kinds of question by two routes, and learn."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((len(KINDS), engine.dim))
    for row in range(300):
        (question, (skill, best)), center = list(zip(KINDS.items(), centers, strict=True))[row % len(KINDS)]
        route, temperature = rng.choice(list(skill)), rng.random()
        x = (center + 0.3 * rng.standard_normal(engine.dim)).astype(np.float32)
        t = engine.begin_trajectory(x, query=f"{question} ({row})")
        engine.set_trajectory_route(t, str(route))
        engine.set_trajectory_parameters(t, {"temperature": temperature})
        engine.end_trajectory(t, quality=float(np.clip(skill[route] - abs(temperature - best) / 2, 0, 1)))
    engine.force_learn()


def main() -> None:
    """Record, then ask."""
    with SonaEngine(hidden_dim=32, space=SPACE) as engine:
        record(engine)
        with psycopg.connect(engine.url) as connection:
            for title, query in QUESTIONS.items():
                print(f"\n{title}")
                for row in connection.execute(query, {"space": SPACE}):
                    print("  ", *row, sep="  ")


if __name__ == "__main__":
    main()
