"""Topic: a pattern with the name that a person gave it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

LONGEST_NAME = 100  # characters


@dataclass(frozen=True, slots=True)
class Topic:
    """Name of a pattern, and the live pattern that it belongs to."""

    name: str
    pattern: UUID | None  # None: no live pattern is about the same
    size: int | None
    rated: int | None  # ratings, of which older ones count less
    quality: float | None
    typical_query: str | None
    named_pattern: UUID  # that it was given to
    named_by: str
    named_at: datetime


class TopicNames:
    """Names of topics by pattern."""

    def __init__(self, topics: Iterable[Topic]) -> None:
        """Know ``topics``."""
        self._names: dict[UUID, dict[str, None]] = {}
        for topic in topics:
            for pattern in (topic.pattern, topic.named_pattern):
                if pattern is not None:
                    self._names.setdefault(pattern, {})[topic.name] = None

    def of(self, pattern: UUID) -> str | None:
        """Return the name of a pattern, live or of a past version; its names if it was merged of several."""
        return self.of_all((pattern,))

    def of_all(self, patterns: Iterable[UUID]) -> str | None:
        """Return the names of patterns that are put together."""
        names = {name: None for pattern in patterns for name in self._names.get(pattern, ())}
        return ", ".join(names) or None
