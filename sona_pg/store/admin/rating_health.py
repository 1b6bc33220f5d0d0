"""Health of the feedback of a store: whether it reaches its trajectories, and all answers are rated alike."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

import psycopg

from sona_pg.domain.finding import Finding
from sona_pg.domain.strayed_feedback import StrayedFeedback
from sona_pg.store.strayed_rows import strayed_feedback

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


def stray_feedback(raw: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Name spaces with feedback whose trajectory has not come within an hour: nothing is learned from it.

    What comes after retention has removed its trajectory is as it should be.
    """
    strayed = [one for one in strayed_feedback(raw) if one.facts]
    if strayed:
        told = "; ".join(f"{one.name}: {one.facts:,}{_since(one)}" for one in strayed[:3])
        more = f" and {len(strayed) - 3} more" if len(strayed) > 3 else ""
        yield Finding(
            "feedback", "warning", f"facts of the last 7 days on ids that their space has no record of: {told}{more}",
            "sona-pg waiting-feedback --space NAME lists them: the id was never recorded or is mistyped, or its record "
            "was erased or is in another space, such as another tenant's; give feedback where the request was recorded",
        )  # fmt: skip


def _since(one: StrayedFeedback) -> str:
    since = "" if one.since is None else f" since {one.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return since + (f" ({one.before_erasure:,} may be of erased requests)" if one.before_erasure else "")


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
