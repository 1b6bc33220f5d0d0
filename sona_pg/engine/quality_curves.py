"""Quality of a space over time, where trajectories are very many of a sample, and by the version that decided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from itertools import pairwise

from sona_pg.domain.overview_figures import MeanQuality, QualityCurve, QualitySpan, SpanSums, VersionCurve
from sona_pg.engine.period_overview import end_of_period, start_of_period
from sona_pg.engine.session import Session
from sona_pg.store.outcome_samples import TimeSpan

SPANS = 48  # points of a curve over time
PARTS = 3  # of a span, each sampled from its beginning
EACH = 24  # trajectories of a part
JOINED = 60  # part of all ratings that a point has at least: a burst gives no more points than spans
RATED = 15  # ratings of a point at least
SHOWN_VERSIONS = 60
LEAST_SPAN = timedelta(milliseconds=1)


def over_time(session: Session, days: float, until: date | None = None) -> QualityCurve[QualitySpan]:
    """Return the quality within equal spans of time, from the oldest trajectory of the last ``days`` to the newest.

    Where all trajectories are older, these days end with the newest; with ``until`` they end with this day (UTC).

    Of very many trajectories each is estimated from a sample: the first ones of each third of the span.
    """
    ends = end_of_period(session, days, until)
    bounds = session.pages.overview.bounds(session.space, start_of_period(ends, days))
    if bounds is None or (until is not None and bounds.start > ends):
        return QualityCurve([], False)
    newest = max(bounds.end, bounds.start) + LEAST_SPAN
    spans = cut(TimeSpan(bounds.start, newest if until is None else min(newest, ends)), SPANS)
    sums, sampled = _summed(session, spans)
    return QualityCurve(list(_joined(spans, sums)), sampled)


def by_version(session: Session) -> VersionCurve:
    """Return the quality of what each of the latest versions decided, as ``sona.learning_curve`` has it."""
    return session.pages.overview.version_curve(session.space, SHOWN_VERSIONS)


def cut(span: TimeSpan, count: int) -> list[TimeSpan]:
    """Return a span cut into equal parts."""
    step = (span.end - span.start) / count
    edges = [span.start + place * step for place in range(count)] + [span.end]
    return [TimeSpan(start, end) for start, end in pairwise(edges)]


def _summed(session: Session, spans: Sequence[TimeSpan]) -> tuple[list[SpanSums], bool]:
    """Return the sums of each span, and whether they are of a sample: the spans hold too many to read them all."""
    found = session.pages.overview.span_sums(session.space, spans)
    if found is not None:
        return found, False
    parts = [part for span in spans for part in cut(span, PARTS)]
    sampled = session.pages.overview.samples(session.space, parts, EACH)
    of_spans = (sampled[place * PARTS : (place + 1) * PARTS] for place in range(len(spans)))
    return [SpanSums(*map(sum, zip(*known, strict=True))) for known in of_spans], True


def _joined(spans: Sequence[TimeSpan], sums: Sequence[SpanSums]) -> Iterator[QualitySpan]:
    """Yield neighbouring spans joined until each has enough ratings, or is the last."""
    start, joined = spans[0].start, list[SpanSums]()
    enough = max(sum(one.rated for one in sums) / JOINED, RATED)
    for place, (span, one) in enumerate(zip(spans, sums, strict=True)):
        joined.append(one)
        mean = MeanQuality.of(joined)
        if mean.rated >= enough or (place == len(spans) - 1 and mean.trajectories):
            yield QualitySpan(start, span.end, mean)
            start, joined = span.end, []
