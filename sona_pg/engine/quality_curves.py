"""Quality of a space over time and by version, from samples of its trajectories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from sona_pg.domain.ids import EPOCH
from sona_pg.domain.overview_figures import MeanQuality, QualitySpan, VersionQuality
from sona_pg.domain.version import StoredVersion
from sona_pg.engine.period_overview import end_of_period, start_of_period
from sona_pg.engine.session import Session
from sona_pg.store.outcome_samples import TimeSpan

SPANS = 48  # points of a curve over time
PARTS = 3  # of a span, each sampled from its beginning
EACH = 24  # trajectories of a part
SMALL = 2_000  # trajectories of a space that is read whole
JOINED = 60  # part of all ratings that a point has at least: a burst gives no more points than spans
RATED = 15  # ratings of a point at least
SHOWN_VERSIONS = 60
LEAST_SPAN = timedelta(milliseconds=1)


def over_time(session: Session, days: float) -> list[QualitySpan]:
    """Return the quality within equal spans of time, from the oldest trajectory of the last ``days`` to the newest.

    Where all trajectories are older, these days end with the newest.

    In a large space each is estimated from a sample: the first trajectories of each third of the span.
    """
    bounds = session.database.overview.bounds(session.space, since(session, days))
    if bounds is None:
        return []
    spans = cut(TimeSpan(bounds.start, max(bounds.end, bounds.start) + LEAST_SPAN), SPANS)
    return list(_joined(spans, _sampled(session, spans)))


def by_version(session: Session) -> list[VersionQuality]:
    """Return the quality of the trajectories that were recorded while each of the latest versions was live."""
    listed = session.database.versions.listing(session.space, SHOWN_VERSIONS)
    live = sorted((one for one in listed if one.status in ("live", "retired")), key=lambda one: one.version)
    bounds = session.database.overview.bounds(session.space, EPOCH)
    if bounds is None:
        return []
    told: list[tuple[int, str, datetime, int, int | None]]
    told = [(one.version, one.origin, one.created_at, _read_by(one), one.patterns) for one in live]
    if not live or live[0].parent == 0:
        told.insert(0, (0, "start", bounds.start, 0, 0))
    ends = [one[2] for one in told[1:]] + [bounds.end + LEAST_SPAN]
    spans = [TimeSpan(one[2], max(one[2], end)) for one, end in zip(told, ends, strict=True)]
    means = [MeanQuality.of(known) for known in _sampled(session, spans)]
    return [
        VersionQuality(version, origin, span.start, span.end, learned, patterns, mean)
        for (version, origin, _, learned, patterns), span, mean in zip(told, spans, means, strict=True)
    ]


def since(session: Session, days: float) -> datetime:
    """Return when the last ``days`` of a space begin."""
    return start_of_period(end_of_period(session, days), days)


def cut(span: TimeSpan, count: int) -> list[TimeSpan]:
    """Return a span cut into equal parts."""
    step = (span.end - span.start) / count
    edges = [span.start + place * step for place in range(count)] + [span.end]
    return [TimeSpan(start, end) for start, end in pairwise(edges)]


def _sampled(session: Session, spans: Sequence[TimeSpan]) -> list[list[float | None]]:
    """Return the qualities of each span: of all its trajectories in a small space, else of a sample."""
    qualities: list[list[float | None]] = [[] for _ in spans]
    if session.database.totals(session.space)["trajectories"] <= SMALL:
        for outcome in session.database.overview.samples(session.space, spans, SMALL):
            qualities[outcome.span].append(outcome.quality)
        return qualities
    parts = [part for span in spans for part in cut(span, PARTS)]
    for outcome in session.database.overview.samples(session.space, parts, EACH):
        qualities[outcome.span // PARTS].append(outcome.quality)
    return qualities


def _joined(spans: Sequence[TimeSpan], sampled: Sequence[Sequence[float | None]]) -> Iterator[QualitySpan]:
    """Yield neighbouring spans joined until each has enough ratings, or is the last."""
    start, qualities, rated = spans[0].start, list[float | None](), 0
    enough = sum(quality is not None for known in sampled for quality in known) / JOINED
    for place, (span, known) in enumerate(zip(spans, sampled, strict=True)):
        qualities.extend(known)
        rated += sum(quality is not None for quality in known)
        if rated >= max(enough, RATED) or (place == len(spans) - 1 and qualities):
            yield QualitySpan(start, span.end, MeanQuality.of(qualities))
            start, qualities, rated = span.end, [], 0


def _read_by(version: StoredVersion) -> int:
    return (version.trajectories or 0) + (version.feedback or 0)
