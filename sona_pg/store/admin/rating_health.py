"""Health of the feedback of a store: whether bad answers may be rated more often than good ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from sona_pg.domain.finding import Finding

FEW = 50  # rated requests of the last days that tell something
# Users who were content rated a fifth as often as others: .17 of 300 ratings were good (EVIDENCE.md, "Who rates").
LOW = 0.25
UNRATED = 0.2  # share of the requests: with fewer, hardly anything is missing
DAYS = 30
ONE_SIDED = """
SELECT s.name, sum(f.rated)::bigint, sum(f.trajectories)::bigint, sum(f.quality) / sum(f.rated)
FROM sona.daily_figures f JOIN sona.spaces s ON s.space_id = f.space_id
WHERE f.kind = 'space' AND f.day BETWEEN current_date - %(days)s::int AND current_date
GROUP BY s.name
HAVING sum(f.rated) >= %(few)s AND sum(f.quality) < %(low)s * sum(f.rated)
    AND sum(f.rated) < (1 - %(unrated)s) * sum(f.trajectories)
ORDER BY 2 DESC
"""


def rating_checks(raw: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Name spaces in which hardly any rating is good while many requests have none, by the days summed so far.

    Either their answers are bad, or those who were content do not say so. Both need somebody to look: what is learned
    takes every rating at its word.
    """
    limits = {"days": DAYS, "few": FEW, "low": LOW, "unrated": UNRATED}
    for space, rated, requests, quality in raw.execute(ONE_SIDED, limits):
        yield Finding(
            "ratings", "warning", f"of {requests:,} requests in {space} in {DAYS} days {rated:,} are rated, with a "
            f"mean quality of {quality:.2f}: the answers are bad, or those who are content do not rate",
            "ask for feedback whatever the answer was: docs/how-it-learns.md, Who rates",
        )  # fmt: skip
