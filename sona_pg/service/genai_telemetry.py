"""OpenTelemetry's conventions for generative AI (0.66): inference spans as trajectories, evaluations as feedback."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sona_pg.domain.telemetry_keys import TelemetryKeys
from sona_pg.limits import LONGEST_ID, LONGEST_LABEL, LONGEST_QUERY, MAX_PARAMETER
from sona_pg.service.otlp_decoding import ReceivedEvent, ReceivedSpan

INFERENCE = ("chat", "text_completion", "generate_content", "invoke_agent")  # gen_ai.operation.name
DETAILS = "gen_ai.client.inference.operation.details"  # event with the content that a span may lack
EVALUATION = "gen_ai.evaluation.result"
USER_MESSAGE = "gen_ai.user.message"  # event of conventions up to 1.36
PARAMETERS = ("temperature", "top_p", "top_k", "max_tokens", "frequency_penalty", "presence_penalty")
LABELS = (
    ("service", "service.name"),
    ("session", "gen_ai.conversation.id"),
    ("user", "user.id"),
    ("agent", "gen_ai.agent.name"),
    ("error", "error.type"),
)
WITHOUT_TEXT = (
    "a span has no gen_ai.input.messages, and no event with the user's message has come for it yet: have the "
    "instrumentation capture the content of messages"
)
MOST_AWAITED = 10_000  # spans without a text, and texts without a span
GOOD = {"pass", "passed", "correct", "relevant", "good", "positive", "yes", "true", "helpful", "safe", "up"}
BAD = {"fail", "failed", "incorrect", "not_relevant", "irrelevant", "bad", "negative", "no", "false", "unsafe", "down"}

Scale = tuple[float, float]  # scores of an evaluation that mean quality 0 and 1


@dataclass(frozen=True, slots=True)
class ToldTrajectory:
    """A trajectory as a span or an event tells it."""

    keys: TelemetryKeys
    began: int  # nanoseconds since 1970
    text: str
    route: str | None
    quality: float | None
    latency: float  # seconds; nan: unknown
    parameters: dict[str, float]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvaluationFact:
    """Feedback as an evaluation tells it."""

    keys: TelemetryKeys  # of the response that was evaluated, and of the span it is parented to
    at: int  # nanoseconds since 1970
    source: str  # name of the evaluation
    quality: float


class AwaitedTexts:
    """Joins spans with the texts of their messages, where the two are exported apart (conventions up to 1.36).

    The latest of each that the other has not come for are kept, in this process.
    """

    def __init__(self) -> None:
        self._texts: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        self._spans: OrderedDict[tuple[str, str, str], ReceivedSpan] = OrderedDict()

    def text_of(self, space: str, span: ReceivedSpan) -> str:
        """Return the text that has come for a span; otherwise keep the span, and return none."""
        key = (space, span.trace, span.span)
        text = self._texts.pop(key, "")
        if not text:
            self._spans[key] = span
            _bound(self._spans)
        return text

    def span_of(self, space: str, trace: str, span: str, text: str) -> ReceivedSpan | None:
        """Return the span that waits for a text; otherwise keep the text."""
        key = (space, trace, span)
        waiting = self._spans.pop(key, None)
        if waiting is None:
            self._texts[key] = text
            _bound(self._texts)
        return waiting


def _bound(kept: OrderedDict[Any, Any]) -> None:
    while len(kept) > MOST_AWAITED:
        kept.popitem(last=False)


def told_by(
    spans: Iterable[ReceivedSpan],
    events: Iterable[ReceivedEvent],
    scales: Mapping[str, Scale],
    space: str,
    awaited: AwaitedTexts,
) -> tuple[list[ToldTrajectory], list[EvaluationFact], list[str]]:
    """Return trajectories, facts, and the reason for each span or event of an AI that tells neither."""
    trajectories: list[ToldTrajectory] = []
    facts: list[EvaluationFact] = []
    refused: list[str] = []
    loose = list(events)
    texts = {(event.trace, event.span): _said(event) for event in loose if event.name == USER_MESSAGE and _said(event)}
    for (trace, number), text in texts.items():
        waiting = awaited.span_of(space, trace, number, text)
        if waiting is not None:
            trajectories.append(_of_span(waiting, text))
    for span in spans:
        loose += [event for event in span.events if event.name == EVALUATION]
        if span.attributes.get("gen_ai.operation.name") in INFERENCE and span.trace and span.span:
            text = _text_of(span) or awaited.text_of(space, span)
            if text:
                trajectories.append(_of_span(span, text))
            else:
                refused.append(WITHOUT_TEXT)
    for event in loose:
        if event.name == DETAILS:
            _add(trajectories, refused, _of_details(event))
        elif event.name == EVALUATION:
            _add(facts, refused, _of_evaluation(event, scales))
    return trajectories, facts, refused


def _add(told: list[Any], refused: list[str], one: Any) -> None:
    (refused if isinstance(one, str) else told).append(one)


def _text_of(span: ReceivedSpan) -> str:
    """Return the text of the user's message that came with a span."""
    details = (_asked(event.attributes) for event in span.events if event.name == DETAILS)
    older = (_said(event) for event in span.events if event.name == USER_MESSAGE)
    text = _asked(span.attributes) or next(filter(None, [*details, *older]), "")
    return text if text.strip() else ""


def _said(event: ReceivedEvent) -> str:
    """Return the text of an event of a user's message: in its body, or its attributes."""
    body = event.body if isinstance(event.body, Mapping) else event.attributes
    text = _text(body.get("content"))
    return text if text.strip() else ""


def _of_span(span: ReceivedSpan, text: str) -> ToldTrajectory:
    latency = (span.ended - span.began) / 1e9
    return _trajectory(
        span, span.attributes, span.began, text, latency if latency >= 0 else math.nan, 0.0 if span.failed else None
    )  # fmt: skip


def _of_details(event: ReceivedEvent) -> ToldTrajectory | str:
    text = _asked(event.attributes)
    if not text.strip() or not event.trace or not event.span:
        return f"an event {DETAILS} has no gen_ai.input.messages, or no span"
    failed = 0.0 if event.attributes.get("error.type") else None
    return _trajectory(event, event.attributes, event.at, text, math.nan, failed)


def _trajectory(
    of: ReceivedSpan | ReceivedEvent, attributes: Mapping[str, Any], began: int, text: str, latency: float,
    quality: float | None,
) -> ToldTrajectory:  # fmt: skip
    route = attributes.get("gen_ai.request.model") or attributes.get("gen_ai.response.model")
    if attributes.get("gen_ai.operation.name") == "invoke_agent":
        route = attributes.get("gen_ai.agent.name") or route
    known = {**of.resource, **attributes}
    labels = tuple(f"{label}:{known[name]}"[: LONGEST_LABEL // 4] for label, name in LABELS if known.get(name))
    parameters = {}
    for name in PARAMETERS:
        value = attributes.get(f"gen_ai.request.{name}")
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_PARAMETER:
            parameters[name] = float(value)
    return ToldTrajectory(
        _keys(of, attributes, inference=True),
        began, _clean(text)[: LONGEST_QUERY // 4], _clean(str(route))[: LONGEST_ID // 4] if route else None, quality,
        latency, parameters, tuple(map(_clean, labels)),
    )  # fmt: skip


def _of_evaluation(event: ReceivedEvent, scales: Mapping[str, Scale]) -> EvaluationFact | str:
    attributes = event.attributes
    name = str(attributes.get("gen_ai.evaluation.name") or "evaluation")
    keys = _keys(event, attributes, inference=False)
    if not keys.named:
        return f"evaluation {name!r:.60} names neither a span nor a gen_ai.response.id"
    quality = _quality(
        attributes.get("gen_ai.evaluation.score.value"),
        attributes.get("gen_ai.evaluation.score.label"),
        scales.get(name),
    )
    if quality is None:
        return f"evaluation {name!r:.60} has no score from 0 to 1 and no known label: tell the service its scale"
    return EvaluationFact(keys, event.at, _clean(name)[: LONGEST_ID // 8], quality)


def _quality(value: Any, label: Any, scale: Scale | None) -> float | None:
    """Return the quality in [0, 1]; a label that contradicts the score counts, for some scores are of flaws."""
    score = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if scale is not None and math.isfinite(score):
        low, high = scale
        return min(max((score - low) / (high - low), 0.0), 1.0)
    word = str(label).strip().lower().replace(" ", "_").replace("-", "_") if label is not None else ""
    said = 1.0 if word in GOOD else 0.0 if word in BAD else None
    if not 0 <= score <= 1:
        return said
    return score if said is None or (score >= 0.5) == (said == 1.0) else said


def _keys(of: ReceivedSpan | ReceivedEvent, attributes: Mapping[str, Any], *, inference: bool) -> TelemetryKeys:
    response = attributes.get("gen_ai.response.id")
    return TelemetryKeys.of(of.trace, of.span, str(response) if response else "", inference=inference)


def _asked(attributes: Mapping[str, Any]) -> str:
    """Return the text of the last message of a user."""
    messages = attributes.get("gen_ai.input.messages")
    if isinstance(messages, str):
        try:
            messages = orjson.loads(messages)
        except orjson.JSONDecodeError:
            return messages
    if not isinstance(messages, list):
        return ""
    for message in reversed(messages):
        if isinstance(message, Mapping) and message.get("role") == "user":
            return _text(message.get("parts", message.get("content")))
    return ""


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = (part.get("content", part.get("text")) for part in parts if isinstance(part, Mapping))
    return "\n".join(text for text in texts if isinstance(text, str))


def _clean(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()
