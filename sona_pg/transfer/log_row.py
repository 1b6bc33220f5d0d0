"""One row of an import: its fields checked, or refused with the reason."""

from __future__ import annotations

import hashlib
import math
import re
from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.ids import made_at
from sona_pg.errors import InvalidValue
from sona_pg.limits import LONGEST_ID

FIELDS = frozenset({
    "id", "started_at", "embedding", "text", "query", "route", "quality", "latency", "cost", "context", "parameters",
    "steps", "candidates", "decision", "correction", "feedback", "version", "outcome", "candidate", "group", "retired",
    "imported_id",
})  # fmt: skip
MOST_REWARD = 1e6
TIMES = "ISO 8601 such as 2026-11-22T10:00Z"
SAME = 1.0  # seconds by which started_at may differ from the time of a UUIDv7 that is kept
DIGITS_OF_DATE = 8  # 20261122
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)  # not 1_0 or nan, which Python reads
MILLISECONDS = 1e11  # a time as a number from here on is in milliseconds since 1970, below in seconds


class LoggedFact(NamedTuple):
    """One fact of feedback about a row's trajectory."""

    source: str
    sequence: int
    quality: float | None
    correction: str | None
    retract: bool
    cost: float | None


class LoggedDecision(NamedTuple):
    """A routing decision taken elsewhere, as ``begin_trajectory`` takes decisions."""

    route: str
    propensity: float
    cost: float | None
    features: Sequence[float] | None
    version: None = None  # of the policy: it belongs to another store
    candidate_set: None = None  # of the row's candidates


class LoggedStep(NamedTuple):
    """One step of a row's trajectory."""

    offset_us: int
    activations: Any
    attention_weights: Any
    reward: float


@dataclass(frozen=True, slots=True, eq=False)
class LogRow:
    """One trajectory to record."""

    id: UUID | str
    started_at: datetime | None  # None: the id tells it
    embedding: NDArray[np.float32] | None
    text: str | None  # to be embedded where there is no embedding
    query: str | None
    route: str | None
    quality: float | None
    latency: float
    cost: float | None
    context: Sequence[str]
    parameters: Mapping[str, float] | None
    steps: Sequence[LoggedStep]
    candidates: Sequence[str] | str | None
    decision: LoggedDecision | None
    facts: Sequence[LoggedFact]
    imported_id: str | None  # the row's own id, where the trajectory has another
    is_timed: bool  # the row itself tells its time


class CandidateRow(NamedTuple):
    """One candidate to remember."""

    id: str
    embedding: NDArray[np.float32] | None
    text: str | None
    group: str | None
    is_retired: bool


def read_candidate(content: dict[str, Any]) -> CandidateRow:
    """Return the candidate of a row that has the field ``candidate``; InvalidValue: a field cannot be used."""
    name, text = content["candidate"], _text(content, "text")
    if not isinstance(name, str) or not 1 <= len(name.encode("utf-8", "replace")) <= LONGEST_ID or "\0" in name:
        raise InvalidValue(f"candidate is {name!r:.60}, expected a text of 1 to {LONGEST_ID} bytes")
    embedding = _vector(content.get("embedding"), "embedding")
    if embedding is None and not (text or "").strip():
        raise InvalidValue("it has neither embedding nor text")
    return CandidateRow(name, embedding, text, _text(content, "group"), _is_retired(content.get("retired")))


def _is_retired(told: Any) -> bool:
    flag = {"true": True, "false": False}.get(told.lower(), told) if isinstance(told, str) else told  # of CSV
    if flag is not None and not isinstance(flag, bool):
        raise InvalidValue(f"retired is {told!r:.60}, expected true or false")
    return bool(flag)


def read_trajectory(content: dict[str, Any], raw: bytes, at: datetime | None) -> LogRow:
    """Return the trajectory of a row; ``at`` is the time of rows that tell none.

    Raises:
        InvalidValue: a field cannot be used; the recorder checks those that it checks anyway.
    """
    get = content.get
    embedding = _vector(get("embedding"), "embedding")
    query, text = _text(content, "query"), _text(content, "text")
    if embedding is None and not (text or query or "").strip():
        raise InvalidValue("it has neither embedding nor text: one of the two is needed")
    id_, started_at, began = _identity(get("id"), get("started_at"), raw, at)
    latency, route = _number(content, "latency"), _text(content, "route")
    candidates = get("candidates")
    if candidates is not None and candidates != "all" and not _is_list(candidates):
        raise InvalidValue(f"candidates is {candidates!r:.60}, expected a list of ids")
    context, parameters = get("context"), get("parameters")
    if isinstance(context, str):
        context = [context]
    if context is not None and not _is_list(context):
        raise InvalidValue(f"context is {context!r:.60}, expected a list of labels")
    return LogRow(
        id_, started_at, embedding, text or query, query if query is not None else text, route,
        _share(content, "quality"), float("nan") if latency is None else latency, _number(content, "cost"),
        context or (), parameters, _steps(get("steps")), candidates, _decision(get("decision"), route),
        _facts(content, began), _imported_id(content, id_), isinstance(id_, UUID) or get("started_at") is not None,
    )  # fmt: skip


def _imported_id(content: dict[str, Any], id_: UUID | str) -> str | None:
    """Return the id by which people know a row: its own, or of an export the one that the exported row had."""
    before = _text(content, "imported_id")
    return before or (None if isinstance(id_, UUID) or content.get("id") is None else id_)


def _identity(told: Any, started: Any, raw: bytes, at: datetime | None) -> tuple[UUID | str, datetime | None, datetime]:
    """Return the id to record, its time unless the id tells it, and the time at which it began."""
    began = at if started is None else _time(started)
    if told is None:
        if began is None:
            raise InvalidValue("it has no started_at: give one, or --at for all rows without")
        return hashlib.blake2b(raw, digest_size=16).hexdigest(), began, began
    name = str(told) if isinstance(told, int) and not isinstance(told, bool) else told
    if not isinstance(name, str) or not name:
        raise InvalidValue(f"id is {told!r:.60}, expected a text")
    try:
        known = UUID(name)
    except ValueError:
        known = None
    if known is not None and known.version == 7:
        own = made_at(known)
        if started is None or began is None or abs((own - began).total_seconds()) < SAME:
            return known, None, own
    if began is None:
        raise InvalidValue(f"id {name!r:.60} is no UUIDv7, which tells its time: give started_at, or --at")
    return name, began, began


def _time(value: Any) -> datetime:
    """Return ISO 8601 with a time zone, or seconds or milliseconds since 1970."""
    number = value
    if isinstance(value, str) and (number := time_as_number(value)) is None:
        try:
            at = datetime.fromisoformat(value)
        except ValueError as exc:
            raise InvalidValue(f"started_at is {value!r:.60}, expected {TIMES} (or --date-format)") from exc
        if at.tzinfo is None:
            raise InvalidValue(f"started_at is {value!r}, expected a time zone, such as Z (or --timezone)")
        return at
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < 253402300800e3:
        raise InvalidValue(f"started_at is {value!r:.60}, expected ISO 8601, or seconds since 1970")
    return datetime.fromtimestamp(number / 1000 if number >= MILLISECONDS else number, UTC)


def time_as_number(value: str) -> float | None:
    """Return seconds or milliseconds told as text; None for other texts, and for eight digits, which are a date.

    Numbers come first: ISO 8601 without hyphens, and any character before the hour, would read most of them.
    """
    if len(value) == DIGITS_OF_DATE and value.isdecimal():
        return None
    try:
        return number_in(value)
    except ValueError:
        return None


def number_in(value: str) -> float:
    """Return the number that a text is; ValueError: it is none."""
    if NUMBER.fullmatch(value) is None:
        raise ValueError("no number")
    return float(value)


def _facts(content: dict[str, Any], began: datetime) -> list[LoggedFact]:
    first = int(began.timestamp() * 1e6)
    facts = []
    if "correction" in content:
        facts.append(LoggedFact("user", first, None, _correction(content), False, None))
    told = content.get("feedback")
    if told is None:
        return facts
    if not _is_list(told) or not all(isinstance(fact, dict) for fact in told):
        raise InvalidValue(f"feedback is {told!r:.60}, expected a list of objects")
    first += len(facts)
    for place, fact in enumerate(told):
        sequence, retract = fact.get("sequence", first + place), fact.get("retract", False)
        if isinstance(sequence, bool) or not isinstance(sequence, int) or not -(1 << 63) <= sequence < 1 << 63:
            raise InvalidValue(f"feedback[{place}].sequence is {sequence!r:.60}, expected a whole number of 64 bits")
        if not isinstance(retract, bool):
            raise InvalidValue(f"feedback[{place}].retract is {retract!r:.60}, expected true or false")
        within = f"feedback[{place}]."
        quality, cost = _share(fact, "quality", within), _number(fact, "cost", within)
        correction = _correction(fact, within)
        nothing = quality is None and correction is None and cost is None
        if nothing is not retract:
            raise InvalidValue(f"feedback[{place}] needs quality, correction or cost, or retract alone")
        source = fact.get("source", "user")
        if not isinstance(source, str) or not 1 <= len(source.encode("utf-8", "replace")) <= LONGEST_ID:
            raise InvalidValue(f"feedback[{place}].source is {source!r:.60}, expected a name")
        facts.append(LoggedFact(source, sequence, quality, correction, retract, cost))
    return facts


def _correction(fact: dict[str, Any], within: str = "") -> str | None:
    told = fact.get("correction")
    if told is not None and (
        not isinstance(told, str) or not 1 <= len(told.encode("utf-8", "replace")) <= LONGEST_ID or "\0" in told
    ):
        raise InvalidValue(f"{within}correction is {told!r:.60}, expected the id of a candidate")
    return told


def _steps(told: Any) -> list[LoggedStep]:
    if told is None:
        return []
    if not _is_list(told) or not all(isinstance(step, dict) for step in told):
        raise InvalidValue(f"steps is {told!r:.60}, expected a list of objects")
    steps = []
    for place, step in enumerate(told):
        reward, offset = _number(step, "reward"), _number(step, "offset")
        if reward is not None and not -MOST_REWARD <= reward <= MOST_REWARD:
            raise InvalidValue(f"steps[{place}].reward is {reward!r}, expected a number from -1e6 to 1e6")
        if offset is not None and not 0 <= offset <= 1e9:
            raise InvalidValue(f"steps[{place}].offset is {offset!r}, expected seconds since it began")
        vectors = (_vector(step.get("activations"), "activations"), _vector(step.get("attention_weights"), "weights"))
        steps.append(LoggedStep(round((offset or 0.0) * 1e6), *vectors, reward or 0.0))
    return steps


def _decision(told: Any, route: str | None) -> LoggedDecision | None:
    if told is None:
        return None
    if not isinstance(told, dict) or route is None:
        raise InvalidValue("decision needs the row's route, and is an object with propensity")
    propensity = _number(told, "propensity")
    if propensity is None:
        raise InvalidValue("decision has no propensity: the probability with which the route was chosen")
    return LoggedDecision(route, propensity, _number(told, "cost"), told.get("features"))


def _vector(value: Any, what: str) -> NDArray[np.float32] | None:
    """Return (n,) float32 of a list of numbers, or of base64 of little-endian float32."""
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return np.frombuffer(a2b_base64(value, strict_mode=True), "<f4").astype(np.float32)
        with np.errstate(over="ignore"):  # becomes infinite, which the recorder refuses by its place
            return np.array(value, np.float32)
    except (ValueError, TypeError, OverflowError) as exc:
        raise InvalidValue(f"{what} is neither a list of numbers nor base64 of float32") from exc


def _number(content: dict[str, Any], name: str, within: str = "") -> float | None:
    value = content.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise TypeError("a truth value")
        number = number_in(value) if isinstance(value, str) else float(value)
        if math.isnan(number):
            raise ValueError("no number")
        return number
    except (TypeError, ValueError, OverflowError) as exc:
        hint = " (a decimal comma: --decimal ,)" if isinstance(value, str) and "," in value else ""
        raise InvalidValue(f"{within}{name} is {value!r:.60}, expected a number{hint}") from exc


def _share(content: dict[str, Any], name: str, within: str = "") -> float | None:
    value = _number(content, name, within)
    if value is not None and not 0 <= value <= 1:
        raise InvalidValue(f"{within}{name} is {value!r}, expected a number from 0 to 1")
    return value


def _text(content: dict[str, Any], name: str) -> str | None:
    value = content.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidValue(f"{name} is {value!r:.60}, expected a text")
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, list)
