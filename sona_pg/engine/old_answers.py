"""Time travel: what is answered to a query now, beside what versions answered when they were made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.overview_figures import AnswerThen, NearPattern, Scored
from sona_pg.domain.rated_before import RatedBefore
from sona_pg.domain.topic import TopicNames
from sona_pg.engine.candidate_history import CandidateHistory
from sona_pg.engine.contenders import contenders, rated_before
from sona_pg.engine.routes_now import RoutesNow
from sona_pg.engine.session import Session
from sona_pg.serving.past_answers import PastVersion, near_patterns, turned

TextsOf = Callable[[Sequence[str]], Mapping[str, str]]  # of candidates


class OldAnswers(NamedTuple):
    """What is answered to a query now, and what versions have answered."""

    now: AnswerThen  # with recent evidence
    then: Sequence[AnswerThen]  # in the order of the versions that were asked for
    texts: Mapping[str, str]  # of the candidates among them, where they are stored
    not_offered: Sequence[str]  # routes that are no longer offered: versions have chosen them, nobody does now
    first: RatedBefore | None  # whether the first answer would be rated right now; None: nothing has measured that


def old_answers(
    session: Session,
    x: NDArray[np.float32],
    k: int,
    versions: Iterable[PastVersion],
    told: RoutesNow,
    names: TopicNames,
    texts: TextsOf,
) -> OldAnswers:
    """Return the best ``k`` answers to ``x`` (dim,) now, and those of each of ``versions`` when it was made.

    They rank the candidates that are the best now, at most 1,000, of those that were stored then.
    """
    contended = contenders(session, x)
    among = contended.among
    history = CandidateHistory.read(session, among.ids)
    then = []
    for version in versions:
        answer = version.answer(x, history.when_made(version.version, among), k)
        ranking, near = _dated(answer.ranking, history), _named(answer.patterns, names)
        then.append(replace(answer, ranking=ranking, patterns=near))
    serving = session.serving
    known = PastVersion.of(serving.version, serving.state, serving.patterns, len(x), session.config)
    routes = [one for one in known.answer(x, among, k).routes if one.id not in told.gone]
    near = near_patterns(list(serving.find_patterns(x, 3)), told.best, told.since)
    moved = turned(session.held.instant.micro, x)
    now = _dated(contended.ranked[:k], history)
    shown = {one.id for ranking in (now, *(answer.ranking for answer in then)) for one in ranking}
    answer = AnswerThen(serving.version, now, routes, _named(near, names), moved)
    return OldAnswers(
        answer, then, texts(sorted(shown)), sorted(told.gone), rated_before(session, x, contended.ranking)
    )


def _dated(ranking: Sequence[Scored], history: CandidateHistory) -> list[Scored]:
    """Return a ranking with the version that each candidate was there from."""
    return [replace(one, added=history.added(one.id)) for one in ranking]


def _named(patterns: Sequence[NearPattern], names: TopicNames) -> list[NearPattern]:
    return [replace(one, name=names.of(one.id)) for one in patterns]
