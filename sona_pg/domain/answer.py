"""Answers of the engine: rankings, decisions and responses. Each can be handed to ``begin_trajectory``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Protocol, Self, overload
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.pattern import NEVER_USED, LearnedPattern, PatternUse

NO_USES: Mapping[UUID, PatternUse] = MappingProxyType({})


class FoundPatterns(Sequence[LearnedPattern]):
    """Patterns near a query, nearest first, each with its similarity, created on access. Prints as a list."""

    __slots__ = ("_made", "_uses", "similarities", "stored")

    def __init__(
        self,
        found: tuple[LearnedPattern, ...],
        similarities: tuple[float, ...],
        uses: Mapping[UUID, PatternUse] = NO_USES,
    ) -> None:
        """Hold patterns of a version, their similarities to the query, and the use of each as far as it is known."""
        self._uses = uses
        self.stored = found  # of the version, without a similarity
        self.similarities = similarities
        self._made: list[LearnedPattern | None] | None = None

    def _pattern(self, place: int) -> LearnedPattern:
        if self._made is None:
            self._made = [None] * len(self.stored)
        made = self._made[place]
        if made is None:
            stored = self.stored[place]
            made = self._made[place] = stored.found(self.similarities[place], self._uses.get(stored.id, NEVER_USED))
        return made

    @overload
    def __getitem__(self, index: int) -> LearnedPattern: ...
    @overload
    def __getitem__(self, index: slice) -> list[LearnedPattern]: ...
    def __getitem__(self, index: int | slice) -> LearnedPattern | list[LearnedPattern]:
        """Return a pattern, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self._pattern(place) for place in range(len(self.stored))[index]]
        return self._pattern(index)

    def __len__(self) -> int:
        """Return the number of results."""
        return len(self.stored)

    def __iter__(self) -> Iterator[LearnedPattern]:
        return map(self._pattern, range(len(self.stored)))

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, FoundPatterns | list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))

    def __reduce__(self) -> tuple[Any, ...]:
        uses = {pattern.id: self._uses[pattern.id] for pattern in self.stored if pattern.id in self._uses}
        return FoundPatterns, (self.stored, self.similarities, uses)


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Candidates in order, best first."""

    ids: tuple[str, ...]
    scores: NDArray[np.float32]  # (k,) float32, descending
    version: int  # the state version that ranked them
    candidate_set: int | None = None  # the stored set they were chosen from
    # Probability that the first is right; measured from the first cycle of 8 judged rankings on, before that guessed
    # by similarity. None where it is not computed.
    confidence: float | None = None
    fit: float | None = None  # probability that any of the candidates fits; None before the first cycle

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON and msgpack take; the number of the set as text."""
        told = {"ids": list(self.ids), "scores": np.asarray(self.scores).tolist()}
        known = {"version": self.version, "candidate_set": _as_text(self.candidate_set)}
        return {**told, **known, "confidence": self.confidence, "fit": self.fit}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """Return the ranking that ``as_dict`` has given."""
        scores = np.asarray(told["scores"], np.float32)
        believed = told.get("confidence"), told.get("fit")
        return cls(tuple(told["ids"]), scores, told["version"], _as_number(told.get("candidate_set")), *believed)


def _as_text(candidate_set: int | None) -> str | None:
    """Return the number of a set as text: JavaScript and jq round whole numbers beyond 2^53."""
    return None if candidate_set is None else str(candidate_set)


def _as_number(candidate_set: str | int | None) -> int | None:
    """Return the number of a set, given as text or as a number."""
    return None if candidate_set is None else int(candidate_set)


class BookedCost(Protocol):
    """What was booked and expected of a decision."""

    def ended(self, quality: float | None, cost: float | None, began: float | None = None) -> None:
        """Take the quality of its route and the real cost, as far as they are known at the end.

        ``began`` is the time of its trajectory, in seconds since 1970, if its caller told it.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """A route chosen among candidates, with the data for off-policy evaluation later.

    ``reason`` is ``only candidate``, ``warm-up`` (a route that is hardly known gets its first calls), ``exploit`` (the
    best by what is known) or ``explore`` (another one, on purpose).
    """

    route: str
    propensity: float  # probability with which this policy chose this route
    scores: dict[str, float]  # predicted utility of each candidate
    version: int
    reason: str = ""
    candidate_set: int | None = None
    cost: float | None = None  # estimate of the chosen route, if costs were given
    features: NDArray[np.float32] | None = None  # (f,) float32: the caller's features of the query
    account: BookedCost | None = field(default=None, repr=False)  # takes its outcome, in this process

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON and msgpack take; the number of the set as text."""
        told = self._asdict()
        features = None if self.features is None else np.asarray(self.features).tolist()
        scores = {route: float(score) for route, score in self.scores.items()}
        return {**told, "scores": scores, "features": features, "candidate_set": _as_text(self.candidate_set)}

    def _asdict(self) -> dict[str, Any]:
        """Return the fields that LangGraph's checkpoints keep: all but the account, which is of this process."""
        return {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name != "account"}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """Return the decision that ``as_dict`` has given."""
        known = {one.name: told[one.name] for one in dataclasses.fields(cls) if one.name in told}
        if known.get("features") is not None:
            known["features"] = np.asarray(known["features"], np.float32)
        known["candidate_set"] = _as_number(known.get("candidate_set"))
        return cls(**known)


@dataclass(frozen=True, slots=True)
class ParameterEvidence:
    """Evidence of one pattern about one parameter: the trajectories in it that succeeded, weighed by their quality."""

    pattern_id: UUID
    similarity: float  # cosine with the query
    quality: float  # of the pattern
    trajectories: int  # successes with a value of this parameter
    mean: float
    deviation: float
    low: float  # the smallest value that ever succeeded
    high: float
    share: float  # of the suggestion, in [0, 1]


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Parameters that went well in similar patterns, and the evidence for each."""

    values: Mapping[str, float]  # by name; empty without evidence
    evidence: Mapping[str, tuple[ParameterEvidence, ...]]  # by name, nearest pattern first
    version: int  # the state version that answered


@dataclass(frozen=True, slots=True)
class Context:
    """Context of a query: labels stored with its trajectory, the user and the session.

    User and session are stored as the labels ``user:<user>`` and ``session:<session>``.
    """

    labels: tuple[str, ...] = ()
    user: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """Knowledge about a query: its embedding, adapted, and the patterns it resembles."""

    trajectory_id: UUID
    query: str
    embedding: NDArray[np.float32] = field(repr=False)  # (dim,) float32, as the embedder gave it
    adapted: NDArray[np.float32] = field(repr=False)  # (dim,) float32, after the micro adapter
    patterns: Sequence[LearnedPattern] = ()
    route: str | None = None  # the caller's route, else a suggestion: the best-proven one of the nearest pattern
    quality: float | None = None  # expected quality of the route; None without ratings in similar cases
    confidence: float = 0.0  # in that quality, in [0, 1]: similarity of the pattern times w / (w + 1) of its evidence w
    version: int = 0


@dataclass(frozen=True, slots=True)
class FoundTrajectory:
    """A stored trajectory found by a search."""

    id: UUID
    similarity: float  # cosine of the searched and the recorded embedding, in half precision
    route: str | None
    query: str | None
    quality: float | None  # current outcome, with all feedback; None without any
    started_at: datetime


@dataclass(frozen=True, slots=True)
class SearchResult(Sequence[FoundTrajectory]):
    """Stored trajectories, nearest first; a sequence of them."""

    found: tuple[FoundTrajectory, ...]
    complete: bool  # False: an index scan stopped at its limit, and there may be more or nearer ones

    @overload
    def __getitem__(self, index: int) -> FoundTrajectory: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[FoundTrajectory, ...]: ...
    def __getitem__(self, index: int | slice) -> FoundTrajectory | tuple[FoundTrajectory, ...]:
        """Return a result, or a list of them for a slice."""
        return self.found[index]

    def __len__(self) -> int:
        """Return the number of results."""
        return len(self.found)
