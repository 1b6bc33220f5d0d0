"""Judged queries that this server knows: recorded here just now, or committed by any server and not learned yet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.judged import Fact, JudgedQuery
from sona_pg.domain.ledger_slice import Outcome
from sona_pg.store.outcome_rows import outcome_by


class KnownQuery:
    """One query, and all that was said of the answer."""

    __slots__ = ("at_end", "facts", "is_new", "query", "route", "stored")

    def __init__(self, query: NDArray[np.float16], route: str | None, at_end: float | None) -> None:
        self.query = query
        self.route = route
        self.at_end = at_end
        self.is_new = True  # no version has learned the trajectory
        self.stored = False  # the ledger was seen to have the trajectory
        self.facts: dict[tuple[str, int], Fact] = {}

    @property
    def outcome(self) -> Outcome:
        """What counts of it now."""
        return outcome_by(self.route, self.at_end, list(self.facts.values()))

    @property
    def waits(self) -> bool:
        """Whether something of it was said that no version has learned."""
        return (self.is_new and self.at_end is not None) or any(fact.new for fact in self.facts.values())


class JudgedQueries:
    """The latest judged queries, and the latest that may be judged still; not safe for threads at once."""

    def __init__(self, most: int) -> None:
        """Keep ``most`` of each; the oldest go first."""
        self._most = most
        self._judged: OrderedDict[bytes, KnownQuery] = OrderedDict()
        self._shown: OrderedDict[bytes, KnownQuery] = OrderedDict()  # nobody has said anything of them yet
        self._early: OrderedDict[bytes, list[Fact]] = OrderedDict()  # of trajectories that are not known here

    def __len__(self) -> int:
        return len(self._judged)

    def __iter__(self) -> Iterator[tuple[bytes, KnownQuery]]:
        return iter(self._judged.items())

    def note(self, recorded: tuple[Any, ...]) -> bytes | None:
        """Take up a note of the recorder (``recent.pxi``); return the id of the query whose judgement it changes."""
        if len(recorded) == 4:
            return self._note_shown(*recorded)
        trajectory, source, sequence, quality, correction = recorded
        return self._note_fact(trajectory, Fact(source, sequence, quality, correction, True))

    def update(self, read: Sequence[JudgedQuery]) -> list[bytes]:
        """Take what the ledger says of some queries; return the ids of those whose judgement may have changed."""
        for row in read:
            known = self._judged.get(row.trajectory) or self._shown.get(row.trajectory)
            if known is None:
                known = KnownQuery(row.query, row.route, row.quality)
            known.is_new, known.stored = row.quality_is_new, True
            for fact in row.facts:
                known.facts[fact.source, fact.sequence] = fact
            self._keep(row.trajectory, known)
        return [row.trajectory for row in read]

    def settle(self, read: Sequence[JudgedQuery], *, all_written: bool) -> None:
        """Take what the ledger says of all that is known here, as a version leaves it.

        Args:
            read: what it has of them, and of all else that no version has learned.
            all_written: whether nothing was on its way when it was read: what the ledger lacks was refused then.
        """
        if all_written:
            stored = {row.trajectory: {(fact.source, fact.sequence) for fact in row.facts} for row in read}
            for trajectory, known in list(self._judged.items()):
                if trajectory not in stored:
                    del self._judged[trajectory]
                else:
                    known.facts = {key: fact for key, fact in known.facts.items() if key in stored[trajectory]}
        self.update(read)

    @property
    def ids(self) -> NDArray[np.uint8]:
        """(n, 16) of the judged queries."""
        return np.frombuffer(b"".join(self._judged), np.uint8).reshape(-1, 16)

    def _note_shown(self, trajectory: bytes, query: bytes, route: str | None, quality: float | None) -> bytes | None:
        halves = np.frombuffer(query, np.float32).astype(np.float16)
        known = KnownQuery(halves, route, quality)
        for fact in self._early.pop(trajectory, ()):
            known.facts[fact.source, fact.sequence] = fact
        if quality is None and not known.facts:
            _put(self._shown, trajectory, known, self._most)
            return None
        self._keep(trajectory, known)
        return trajectory

    def _note_fact(self, trajectory: bytes, fact: Fact) -> bytes | None:
        known = self._judged.get(trajectory) or self._shown.get(trajectory)
        if known is None:
            _put(self._early, trajectory, [*self._early.get(trajectory, ()), fact][-_MOST_EARLY:], self._most)
            return None
        known.facts[fact.source, fact.sequence] = fact
        self._keep(trajectory, known)
        return trajectory

    def _keep(self, trajectory: bytes, known: KnownQuery) -> None:
        self._shown.pop(trajectory, None)
        if trajectory not in self._judged:
            _put(self._judged, trajectory, known, self._most)


def _put(into: OrderedDict[bytes, Any], key: bytes, value: object, most: int) -> None:
    into[key] = value
    while len(into) > most:
        into.popitem(last=False)


_MOST_EARLY = 16  # facts of one trajectory that is not known here
