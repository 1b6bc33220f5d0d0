"""Judged queries that this server knows: recorded here just now, or committed by any server and not learned yet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.judged import Fact, JudgedQuery
from sona_pg.domain.ledger_slice import Outcome
from sona_pg.store.outcome_rows import outcome_by

_Key = TypeVar("_Key", bytes, int)
KnownFacts = Mapping[bytes, frozenset[tuple[str, int]]]  # source and sequence of each fact, by trajectory


class Judgement(NamedTuple):
    """What counts of a query that waits to be learned: equal for equal facts, on every server."""

    at: int  # microseconds since 1970 of the latest fact, or of the trajectory's id
    trajectory: bytes
    quality: float | None
    correction: str | None
    route: str | None
    before: float | None  # quality that the version has learned of it


class KnownQuery:
    """One query, and all that was said of the answer."""

    __slots__ = (
        "at_end", "candidate_set", "decided", "facts", "features", "is_new", "is_ranking", "noted", "query",
        "route", "session", "stored", "told_here",
    )  # fmt: skip

    def __init__(
        self,
        query: NDArray[np.float16],
        route: str | None,
        at_end: float | None,
        is_ranking: bool = True,
        features: NDArray[np.float32] | None = None,
        decided: bool = False,
        session: str | None = None,
        candidate_set: int = 0,
    ) -> None:
        self.query = query
        self.route = route
        self.at_end = at_end
        self.is_ranking = is_ranking
        self.features = features
        self.decided = decided  # by ``route``
        self.session = session  # label
        self.candidate_set = candidate_set  # number, 0 for none
        self.is_new = True  # no version has learned the trajectory
        self.stored = False  # the ledger was seen to have the trajectory
        self.told_here = False  # something of it was said to this process
        self.facts: dict[tuple[str, int], Fact] = {}
        self.noted: set[tuple[str, int]] = set()  # facts that the ledger was not seen to have

    @property
    def is_committed(self) -> bool:
        """Whether the ledger was seen to have all that is known of it."""
        return self.stored and not self.noted

    @property
    def outcome(self) -> Outcome:
        """What counts of it now."""
        return outcome_by(self.route, self.at_end, list(self.facts.values()))

    @property
    def waits(self) -> bool:
        """Whether something of it was said that no version has learned."""
        return (self.is_new and self.at_end is not None) or any(
            fact.new and _judges(fact) for fact in self.facts.values()
        )

    @property
    def learned_outcome(self) -> Outcome:
        """What the version has learned of it; it has learned the trajectory."""
        return outcome_by(self.route, self.at_end, [fact for fact in self.facts.values() if not fact.new])

    @property
    def learned_quality(self) -> float | None:
        """The quality that the version has learned of it."""
        if self.is_new:
            return None
        facts = [fact for fact in self.facts.values() if not fact.new]
        return outcome_by(self.route, self.at_end, facts).quality if facts else self.at_end

    def said_at(self, trajectory: bytes) -> int:
        """Return when something was said of it last, in microseconds since 1970, as far as the facts tell."""
        begun = 1000 * int.from_bytes(trajectory[:6], "big")  # of a UUIDv7
        return max([begun, *(fact.sequence for fact in self.facts.values() if _judges(fact))])

    def judgement(self, trajectory: bytes) -> Judgement | None:
        """Return what counts of it, the query of ``trajectory``; None if nothing does, or nothing waits."""
        if not self.waits:
            return None
        outcome = self.outcome
        if outcome.correction is None and (outcome.quality is None or self.route is None):
            return None
        return Judgement(
            self.said_at(trajectory), trajectory, outcome.quality, outcome.correction, self.route, self.learned_quality
        )


class JudgedQueries:
    """The latest judged queries, and the latest that may be judged still; not safe for threads at once."""

    def __init__(self, most: int) -> None:
        """Weigh ``most`` of the former, and keep up to twice as many; the oldest go first."""
        self._most = most
        self._judged: dict[bytes, KnownQuery] = {}
        self._judgements: dict[bytes, Judgement | None] = {}  # of each; one whose facts have changed is missing
        self._shown: OrderedDict[bytes, KnownQuery] = OrderedDict()  # nobody has said anything of them yet
        self._sets: OrderedDict[int, tuple[str, ...]] = OrderedDict()  # candidate sets of sessions, by number
        self._early: OrderedDict[bytes, list[Fact]] = OrderedDict()  # of trajectories that are not known here

    def __len__(self) -> int:
        return len(self._judged)

    def __getitem__(self, trajectory: bytes) -> KnownQuery:
        """Return a judged query."""
        return self._judged[trajectory]

    def ids_of(self, number: int) -> tuple[str, ...] | None:
        """Return the ids of a candidate set, none for all candidates; None if the ledger has not told it here."""
        return self._sets.get(number)

    def waiting(self) -> list[Judgement]:
        """Return the judgements that wait to be learned, oldest first: of more than ``most``, the latest.

        They are a function of the facts alone. Of too many the first is one whose id is marked by chance, so that not
        every further fact pushes out another one.
        """
        known = self._judgements
        for trajectory, query in self._judged.items():
            if trajectory not in known:
                known[trajectory] = query.judgement(trajectory)
        found = sorted(judgement for judgement in known.values() if judgement is not None)
        if len(found) <= self._most:
            return found
        found = found[-self._most :] if self._most else []
        every = max(self._most // _MARKED, 1)
        marked = (row for row, (_, trajectory, *_) in enumerate(found) if int.from_bytes(trajectory[-4:]) % every == 0)
        return found[next(marked, 0) :]

    def note(self, recorded: tuple[Any, ...]) -> bytes | None:
        """Take up a note of the recorder (``recent.pxi``); return the id of the query whose judgement it changes."""
        if len(recorded) == 8:
            return self._note_shown(*recorded)
        if len(recorded) == 3:
            return self._correct_times(*recorded)
        trajectory, source, sequence, quality, correction = recorded
        return self._note_fact(trajectory, Fact(source, sequence, quality, correction, True))

    def update(self, read: Sequence[JudgedQuery]) -> list[bytes]:
        """Take what the ledger says of some queries; return the ids of those of which it says something new."""
        changed = []
        for row in read:
            known = self._judged.get(row.trajectory) or self._shown.get(row.trajectory)
            before = None if known is None else (known.is_new, dict(known.facts))
            if known is None:
                known = KnownQuery(
                    row.query, row.route, row.quality, row.is_ranking, row.features, row.decided, row.session,
                    row.candidate_set,
                )  # fmt: skip
            known.is_new, known.stored = row.quality_is_new, True
            if row.among is not None:
                _put(self._sets, row.candidate_set, row.among, MOST_SETS)
            for fact in row.facts:
                known.facts[fact.source, fact.sequence] = fact
                known.noted.discard((fact.source, fact.sequence))
            self._keep(row.trajectory, known)
            if before != (known.is_new, known.facts):
                changed.append(row.trajectory)
        return changed

    def settle(self, read: Sequence[JudgedQuery], known: KnownFacts) -> None:
        """Take what the ledger says of some queries, as a version leaves them.

        Args:
            read: what it has of ``known``, and of all else that no version has learned.
            known: facts that were refused if the ledger lacks them; what has come since is kept.
        """
        stored = {row.trajectory: {(fact.source, fact.sequence) for fact in row.facts} for row in read}
        for trajectory, facts in known.items():
            query = self._judged.get(trajectory)
            if query is None:
                continue
            self._judgements.pop(trajectory, None)
            for fact in facts - stored.get(trajectory, set()):
                query.facts.pop(fact, None)
                query.noted.discard(fact)
            if trajectory not in stored and not query.facts:
                del self._judged[trajectory]
        self.update(read)

    def learned(self, known: KnownFacts) -> None:
        """Take ``known`` for learned; what has come since is kept as it is."""
        for trajectory, facts in known.items():
            query = self._judged.get(trajectory)
            if query is None:
                continue
            self._judgements.pop(trajectory, None)
            query.is_new = False
            for key in facts & query.facts.keys():
                query.facts[key] = query.facts[key]._replace(new=False)

    def ids(self) -> list[bytes]:
        """Return the ids of all that is known: judged, to be judged still, or judged before it was known."""
        return [*self._judged, *self._shown, *self._early]

    def drop(self, trajectories: Collection[bytes]) -> None:
        """Let go of queries that were erased; what is said of them later finds nothing here."""
        held: tuple[MutableMapping[bytes, Any], ...] = (self._judged, self._judgements, self._shown, self._early)
        for trajectory in trajectories:
            for kept in held:
                kept.pop(trajectory, None)

    def known(self, *, committed: bool = False) -> KnownFacts:
        """Return the facts about each judged query; only of those of which the ledger was seen to have all."""
        queries = self._judged.items()
        return {key: frozenset(query.facts) for key, query in queries if query.is_committed or not committed}

    def _note_shown(
        self,
        trajectory: bytes,
        query: bytes,
        route: str | None,
        quality: float | None,
        decided: bool,
        told: bytes,
        session: str | None,
        candidate_set: int,
    ) -> bytes | None:
        halves = np.frombuffer(query, np.float32).astype(np.float16)
        features = np.frombuffer(told, np.float32) if told else None
        known = KnownQuery(halves, route, quality, not decided, features, decided, session, candidate_set)
        for fact in self._early.pop(trajectory, ()):
            known.facts[fact.source, fact.sequence] = fact
            known.noted.add((fact.source, fact.sequence))
        known.told_here = quality is not None or bool(known.facts)
        if quality is None and not known.facts:
            _put(self._shown, trajectory, known, self._most)
            return None
        self._keep(trajectory, known)
        return trajectory

    def _correct_times(self, first: int, last: int, correction: int) -> bytes | None:
        """Add ``correction`` to the sequences from ``first`` to ``last`` that the ledger was not seen to have."""

        def corrected(sequence: int) -> int:
            return sequence + correction if first <= sequence <= last else sequence

        changed = None
        for trajectory, query in [*self._judged.items(), *self._shown.items()]:
            for source, sequence in sorted(query.noted):
                if (at := corrected(sequence)) != sequence:
                    query.noted.remove((source, sequence))
                    query.noted.add((source, at))
                    query.facts[source, at] = query.facts.pop((source, sequence))._replace(sequence=at)
                    self._judgements.pop(trajectory, None)
                    changed = trajectory
        for trajectory, facts in self._early.items():
            self._early[trajectory] = [fact._replace(sequence=corrected(fact.sequence)) for fact in facts]
        return changed

    def _note_fact(self, trajectory: bytes, fact: Fact) -> bytes | None:
        if fact.quality is not None:
            fact = fact._replace(quality=float(np.float32(fact.quality)))  # as it is stored
        known = self._judged.get(trajectory) or self._shown.get(trajectory)
        if known is None:
            _put(self._early, trajectory, [*self._early.get(trajectory, ()), fact][-_MOST_EARLY:], self._most)
            return None
        key = fact.source, fact.sequence
        if key in known.facts and key not in known.noted:
            return None  # the ledger has it: it refuses another one of the same sequence
        known.facts[key] = fact
        known.noted.add(key)
        known.told_here = True
        self._keep(trajectory, known)
        return trajectory

    def _keep(self, trajectory: bytes, known: KnownQuery) -> None:
        self._shown.pop(trajectory, None)
        self._judgements.pop(trajectory, None)
        self._judged[trajectory] = known
        if len(self._judged) > 2 * self._most:
            order = sorted(self._judged, key=lambda key: (self._judged[key].said_at(key), key))
            for key in order[: len(order) - self._most]:
                del self._judged[key]
                self._judgements.pop(key, None)


def _judges(fact: Fact) -> bool:
    return fact.paid is None or fact.quality is not None or fact.correction is not None


def _put(into: OrderedDict[_Key, Any], key: _Key, value: object, most: int) -> None:
    into[key] = value
    while len(into) > most:
        into.popitem(last=False)


MOST_SETS = 256  # candidate sets whose ids are kept: 100 kB each at most
_MOST_EARLY = 16  # facts of one trajectory that is not known here
_MARKED = 8  # marked queries among the most that are weighed, on average
