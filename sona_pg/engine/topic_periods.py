"""Topics of a period with their change, and the routes that changed in one of them alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sona_pg.domain.topic import TopicNames
from sona_pg.domain.topic_period import TopicsInPeriod, topics_in_period
from sona_pg.domain.topic_routes import TopicRouteChange, topic_route_changes
from sona_pg.domain.wording import title, wordings
from sona_pg.engine.coarse_topics import LinkedPatterns
from sona_pg.engine.period_overview import days_of_period
from sona_pg.engine.session import Session

TOLD = 5  # routes that changed in one topic


@dataclass(frozen=True, slots=True)
class ToldTopicRoute:
    """A route that changed in one topic alone, in figures and in a sentence."""

    change: TopicRouteChange
    sentence: str


@dataclass(frozen=True, slots=True)
class ToldTopics:
    """Topics of a period, and the routes that changed in one of them, the clearest first."""

    period: TopicsInPeriod
    routes: Sequence[ToldTopicRoute]
    more: int  # that are not told


def told_topics(
    session: Session, linked: LinkedPatterns, names: TopicNames, days: float, until: date | None, topics: int | None
) -> ToldTopics:
    """Return the quality of the live version's topics in the last ``days`` (UTC), and its change.

    Routes that changed in one topic alone are looked for in topics of every size, whatever ``topics`` says.
    """
    earliest, first, last = days_of_period(session, days, until)
    bad = session.config.patterns.failure_quality
    sums = session.pages.overview.topic_sums(session.space, earliest, first, last, bad)
    changed = topic_route_changes(sums, linked.merges())
    told = [
        ToldTopicRoute(one, one.sentence(_title(linked, names, one), (first - earliest).days)) for one in changed[:TOLD]
    ]
    return ToldTopics(topics_in_period(first, last, linked.topics(topics).sums(sums)), told, len(changed) - len(told))


def _title(linked: LinkedPatterns, names: TopicNames, change: TopicRouteChange) -> str | None:
    """Return the name of a topic, or its most typical question."""
    return names.of_all(change.patterns) or title(wordings(linked.queries(change.patterns)))
