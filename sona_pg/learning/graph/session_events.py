"""Events of sessions that the memory graph learns from: activations, successions and common uses.

A trajectory activates the pattern nearest to its query and the candidate that answered it. The candidate counts as used
if its outcome is good or a correction names it, and as retrieved in vain if the outcome is bad or a correction names
another one. Successive trajectories of a session succeed each other, by their ids; candidates that are used within
a few trajectories of a session, or for the same question, are used together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import UNKNOWN, Catalog
from sona_pg.domain.ledger_slice import LedgerSlice, Outcome, Trajectories
from sona_pg.domain.memory import SECONDS
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.learning.graph.open_sessions import LONGEST_PAUSE, RECENT, SessionEnd, digest_of, key_of
from sona_pg.learning.vectors import unit

USED = 0.5  # quality from which an answer counts as used

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Activation:
    """One trajectory of a session."""

    at: float  # days
    session: bytes
    question: bytes
    pattern: int  # place among the patterns; UNKNOWN without patterns
    used: int  # slot of the candidate used; UNKNOWN for none
    vain: int  # slot of the candidate retrieved in vain
    candidate_set: int
    quality: float  # NaN where unknown


@dataclass(slots=True)
class SessionEvents:
    """Pairs by place among the patterns and by slot; the same pair may be listed more than once."""

    activations: list[Activation] = field(default_factory=list)
    taken_back: list[Activation] = field(default_factory=list)  # whose outcome has changed, as they were learned
    revised: list[Activation] = field(default_factory=list)  # the same ones, as they are now
    patterns_in_turn: list[Pair] = field(default_factory=list)
    candidates_in_turn: list[Pair] = field(default_factory=list)
    used_together: list[Pair] = field(default_factory=list)
    in_vain: list[Pair] = field(default_factory=list)  # a candidate in vain, beside one used lately in its session
    ends: dict[bytes, SessionEnd] = field(default_factory=dict)


def session_events(
    claimed: LedgerSlice,
    patterns: Sequence[LearnedPattern],
    catalog: Catalog,
    ends: dict[bytes, SessionEnd],
) -> SessionEvents:
    """Return the events of a slice, whose sessions may have begun earlier: ``ends``."""
    events = SessionEvents(ends=dict(ends))
    places = {pattern.id.bytes: place for place, pattern in enumerate(patterns)}
    for activation in _activations(claimed.fresh, claimed.outcomes, patterns, catalog):
        _follow(events, activation, patterns, places)
    before = _activations(claimed.revised, claimed.before, patterns, catalog)
    after = _activations(claimed.revised, claimed.after, patterns, catalog)
    for old, new in zip(before, after, strict=True):
        if (old.used, old.vain, old.quality) != (new.used, new.vain, new.quality):
            events.taken_back.append(old)
            events.revised.append(new)
            if new.used not in (UNKNOWN, old.used):
                _use(events, new)
    return events


def days_of_ids(ids: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the moments (n,) in days of UUIDv7s (n, 16)."""
    whole = np.zeros((len(ids), 8), np.uint8)
    whole[:, 2:] = ids[:, :6]
    milliseconds = whole.view(">u8").reshape(-1).astype(np.float64)
    return np.asarray(milliseconds / (1000.0 * SECONDS), np.float64)


def _activations(
    of: Trajectories, outcomes: Sequence[Outcome], patterns: Sequence[LearnedPattern], catalog: Catalog
) -> list[Activation]:
    """Return the trajectories of sessions in the order of their ids."""
    rows = np.array([row for row, session in enumerate(of.sessions) if session is not None], np.int64)
    if not len(rows):
        return []
    rows = rows[np.argsort(np.ascontiguousarray(of.ids[rows]).view("S16").reshape(-1), kind="stable")]
    directions = unit(of.embeddings[rows])
    nearest = np.full(len(rows), UNKNOWN)
    if patterns:
        nearest = (directions @ np.stack([pattern.centroid for pattern in patterns]).T).argmax(axis=1)
    shown = catalog.slots([of.routes[row] for row in rows.tolist()])
    correct = catalog.slots([outcomes[row].correction for row in rows.tolist()])
    found = []
    for place, row in enumerate(rows.tolist()):
        outcome, session = outcomes[row], of.sessions[row] or ""
        quality = np.nan if outcome.quality is None else outcome.quality
        used, vain = _answered(int(shown[place]), int(correct[place]), outcome.correction is not None, quality)
        found.append(
            Activation(
                at=float(days_of_ids(of.ids[row : row + 1])[0]),
                session=key_of(session),
                question=digest_of(of.embeddings[row]),
                pattern=int(nearest[place]),
                used=used,
                vain=vain,
                candidate_set=int(of.candidate_sets[row]),
                quality=float(quality),
            )
        )
    return found


def _answered(shown: int, correct: int, corrected: bool, quality: float) -> Pair:
    """Return the slots of the candidate used, and of the one retrieved in vain."""
    if corrected:
        return correct, shown if shown != correct else UNKNOWN
    if np.isnan(quality):
        return UNKNOWN, UNKNOWN
    return (shown, UNKNOWN) if quality >= USED else (UNKNOWN, shown)


def _follow(
    events: SessionEvents, now: Activation, patterns: Sequence[LearnedPattern], places: dict[bytes, int]
) -> None:
    """Add one trajectory and its place in its session."""
    events.activations.append(now)
    end = events.ends.get(now.session)
    goes_on = end is not None and 0.0 <= now.at - end.at <= LONGEST_PAUSE
    if end is not None and goes_on and end.question != now.question:
        if end.pattern in places and now.pattern != UNKNOWN:
            events.patterns_in_turn.append((places[end.pattern], now.pattern))
        if UNKNOWN not in (end.last_used, now.used):
            events.candidates_in_turn.append((end.last_used, now.used))
    if end is None or not goes_on:
        end = SessionEnd(now.at, b"", now.question, ())
    pattern = b"" if now.pattern == UNKNOWN else patterns[now.pattern].id.bytes
    last = end.last_used if now.used == UNKNOWN and end.question == now.question else now.used
    events.ends[now.session] = replace(end, at=now.at, pattern=pattern, question=now.question, last_used=last)
    _use(events, now)


def _use(events: SessionEvents, now: Activation) -> None:
    """Join the candidate of a trajectory to those used lately in its session."""
    end = events.ends.get(now.session)
    if end is None:
        return
    if now.vain != UNKNOWN:
        events.in_vain += [(slot, now.vain) for slot in end.used]
    if now.used != UNKNOWN:
        events.used_together += [(slot, now.used) for slot in end.used if slot != now.used]
        used = (*(slot for slot in end.used if slot != now.used), now.used)[-RECENT:]
        events.ends[now.session] = replace(end, used=used)
