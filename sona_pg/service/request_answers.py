"""Answers of the dashboard about single requests: feedback, what is found, and how an answer changed."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from pydantic import BaseModel


class FactRow(BaseModel):
    """A fact of feedback, with the trajectory that it is about."""

    trajectory: UUID
    recorded_at: datetime
    source: str
    quality: float | None = None
    correction: str | None = None
    paid: float | None = None
    query: str | None = None
    route: str | None = None
    in_chat: bool
    stands: bool  # false: its source has said something else since, or has taken it back


class FactsAnswer(BaseModel):
    """Facts about the newest trajectories, latest first."""

    facts: list[FactRow]


class SaidFact(BaseModel):
    """A fact of feedback about a request; one without quality, correction and cost takes back the earlier ones."""

    source: str
    quality: float | None = None
    correction: str | None = None
    paid: float | None = None
    stands: bool  # false: its source has said something else since, or has taken it back


class FoundRequest(BaseModel):
    """A request that was looked for by an id."""

    trajectory: UUID
    imported_id: str | None = None
    query: str | None = None
    route: str | None = None
    quality: float | None = None  # as it counts now
    latency: float | None = None  # seconds
    cost: float | None = None
    context: list[str]
    feedback: list[SaidFact]


class RequestsAnswer(BaseModel):
    """Requests with an id, the latest first."""

    requests: list[FoundRequest]
    cost_unit: str | None = None


class FoundCandidateRow(BaseModel):
    """A stored candidate that was looked for."""

    id: str
    text: str | None = None
    is_retired: bool


class FoundCandidatesAnswer(BaseModel):
    """The first candidates that fit, and how many do."""

    candidates: list[FoundCandidateRow]
    all: int


class ScoredName(BaseModel):
    """A candidate or a route with its score."""

    id: str
    score: float
    added: int | None = None  # of a candidate: the first kept version that was made with it; null: none was yet


class NearbyPattern(BaseModel):
    """A pattern near a query."""

    id: UUID
    similarity: float
    size: int
    quality: float | None = None
    rated: int
    typical_query: str | None = None
    name: str | None = None  # that people gave it
    title: str | None = None  # that query, with numbers, dates and names masked
    best_route: str | None = None  # now: as in the map of patterns; of a version: by the ratings that it held
    best_quality: float | None = None
    best_rated: int | None = None  # ratings of the best route; older ones count less
    best_since: date | None = None  # it got worse that day: the ratings are those since
    succeeded: str | None = None  # would be the best by all of its ratings, and got worse


class VersionAnswerThen(BaseModel):
    """What a version answers."""

    version: int
    ranking: list[ScoredName]  # of stored candidates
    routes: list[ScoredName]  # by expected quality
    patterns: list[NearbyPattern]
    turned: float  # degrees by which the micro adapter turns the query


class RatedBeforeAnswer(BaseModel):
    """How probably the first answer would be rated right: the ranking's confidence, and what people said of it."""

    probability: float
    confidence: float  # of the ranking
    rated: int  # ratings of this answer to questions like it
    quality: float | None = None  # their mean, the nearest questions weighing most


class AnswersAnswer(BaseModel):
    """What is answered now, with recent evidence, and what versions answer with the candidates of their time."""

    now: VersionAnswerThen
    then: list[VersionAnswerThen]
    texts: dict[str, str]  # of the candidates among them, where they are stored
    not_offered: list[str]  # routes that are no longer offered
    first: RatedBeforeAnswer | None = None  # of the first answer now; null: not measured yet


class LearnedFactRow(BaseModel):
    """A judged trajectory near a query, with the version that has learned it."""

    trajectory: UUID
    similarity: float
    started_at: datetime
    query: str | None = None
    route: str | None = None
    quality: float | None = None
    correction: str | None = None
    version: int | None = None  # null: unlearned
    feedback_version: int | None = None
    decided_by: int | None = None  # version whose router chose the route, prices and budget weighed; null: none did
    sources: list[str] = []  # whose word about it stands


class LearnedFactsAnswer(BaseModel):
    """Judged trajectories near a query, nearest first."""

    facts: list[LearnedFactRow]
