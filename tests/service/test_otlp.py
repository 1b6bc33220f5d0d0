"""OTLP as JSON: spans of models become trajectories, evaluations feedback, whichever comes first, once."""

from __future__ import annotations

import dataclasses
import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fix_ledger import Ledger

from sona_pg.config import MaintenanceConfig
from sona_pg.domain.ids import uuid7
from sona_pg.domain.telemetry_keys import TelemetryKeys
from sona_pg.errors import ConfigError, SpaceRemoved
from sona_pg.service import ServiceOptions, genai_telemetry
from sona_pg.service.genai_telemetry import AwaitedTexts, told_by
from sona_pg.service.otlp_decoding import answered, decoded
from sona_pg.store.admin.maintenance import Maintenance
from tests.service.conftest import OPTIONS, serving
from tests.service.otlp_bodies import NOW, TRACE, asked, attributes, chat, evaluation, logs, span, traces, value


def test_a_span_and_its_evaluation_are_a_trajectory_with_feedback(service, space, rows):
    name = space()
    told = chat("where is my parcel", **{"gen_ai.request.temperature": 0.5, "gen_ai.request.top_k": 3,
                                         "gen_ai.conversation.id": "c1", "gen_ai.response.id": "r1"})  # fmt: skip
    sent = service.post(
        "/v1/otlp/v1/traces", traces(span(1, told), span(2, {"http.route": "/"})), params={"space": name}
    )
    assert (sent.status_code, sent.json(), sent.headers["content-type"]) == (200, {}, "application/json")
    judged = evaluation(1, "Relevance", evaluation__score__value=0.8)
    assert service.post("/v1/otlp/v1/logs", logs(judged, {"body": {}}), params={"space": name}).json() == {}
    (route, quality, query, latency, context, parameters, source, score), *more = rows(name)
    assert (more, route, query, latency) == ([], "small", "where is my parcel", 1_500_000)
    assert (quality, score, source) == (pytest.approx(0.8), pytest.approx(0.8), "http:Relevance")
    assert context == ["service:shop", "session:c1"]
    assert parameters == {"temperature": 0.5, "top_k": 3}


def test_an_evaluation_may_come_before_its_span_and_all_of_it_twice(service, space, rows):
    name = {"space": space()}
    for _ in range(2):
        by_response = evaluation(None, "Correct", response__id="r2", evaluation__score__label="pass")
        assert service.post("/v1/otlp/v1/logs", logs(by_response), params=name).json() == {}
    for _ in range(2):
        told = chat("where is it", **{"gen_ai.response.id": "r2"})
        service.post("/v1/otlp/v1/traces", traces(span(2, told)), params=name)
    of_span = evaluation(2, "Relevance", evaluation__score__value=0.0)
    service.post("/v1/otlp/v1/logs", logs(of_span), params=name)
    found = rows(name["space"])
    assert {(row[0], row[1]) for row in found} == {("small", 0.5)}
    assert sorted(row[6:] for row in found) == [("http:Correct", 1.0), ("http:Relevance", 0.0)]


def test_events_of_a_span_and_details_count_and_a_failure_is_bad(service, space, rows):
    name = {"space": space()}
    score = {"gen_ai.evaluation.name": "Judge", "gen_ai.evaluation.score.value": 1}
    inside = {"name": "gen_ai.evaluation.result", "timeUnixNano": str(NOW), "attributes": attributes(score)}
    said = attributes({"content": "old style"})
    older = {"name": "gen_ai.user.message", "timeUnixNano": str(NOW), "attributes": said}
    bare = {"gen_ai.operation.name": "chat", "gen_ai.response.model": "large"}
    agent = chat("help", **{"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper"})
    failed = span(5, chat("broken", **{"error.type": "timeout"}), status={"code": 2})
    sent = traces(span(3, bare, events=[older, inside]), span(4, agent), failed)
    assert service.post("/v1/otlp/v1/traces", sent, params=name).json() == {}
    details = {"event.name": "gen_ai.client.inference.operation.details", "gen_ai.input.messages": asked("detail")}
    structured = attributes({"gen_ai.operation.name": "chat", "gen_ai.request.model": "small"} | details)
    record = {"traceId": TRACE, "spanId": f"{6:016x}", "timeUnixNano": str(NOW), "attributes": structured}
    assert service.post("/v1/otlp/v1/logs", logs(record), params=name).json() == {}
    found = {row[2]: (row[0], row[1]) for row in rows(name["space"])}
    assert found == {
        "old style": ("large", 1.0), "help": ("helper", None), "broken": ("small", 0.0), "detail": ("small", None),
    }  # fmt: skip


def user_message(number: int, text: str) -> dict[str, Any]:
    body = value({"content": text})
    return {"traceId": TRACE, "spanId": f"{number:016x}", "eventName": "gen_ai.user.message", "body": body}


@pytest.mark.parametrize("text_first", [False, True])
def test_a_span_and_its_text_may_be_exported_apart(service, space, rows, text_first):
    name = {"space": space()}
    bare = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "small"}
    said = logs(user_message(20, "earlier"), user_message(20, "and now this"), user_message(21, ""))
    sent = [("traces", traces(span(20, bare))), ("logs", said)]
    for signal, body in reversed(sent) if text_first else sent:
        answer = service.post(f"/v1/otlp/v1/{signal}", body, params=name).json()
        waits = signal == "traces" and not text_first
        assert ("partialSuccess" in answer) == waits
    assert [row[:3] for row in rows(name["space"])] == [("small", None, "and now this")]


def test_texts_and_spans_that_wait_have_a_bound(monkeypatch):
    monkeypatch.setattr(genai_telemetry, "MOST_AWAITED", 2)
    awaited = AwaitedTexts()
    for number in range(3):
        assert awaited.span_of("space", TRACE, str(number), f"text {number}") is None
    spans, _ = decoded("traces", "application/json", json.dumps(traces(span(0, {}))).encode())
    found = [awaited.text_of("space", dataclasses.replace(spans[0], span=str(number))) for number in range(3)]
    assert found == ["", "text 1", "text 2"]
    assert awaited.span_of("other", TRACE, "0", "text") is None  # another space's span of the same ids
    assert awaited.span_of("space", TRACE, "0", "text") is not None


def test_what_tells_nothing_is_rejected_with_a_reason(service):
    bare = span(7, {"gen_ai.operation.name": "chat", "gen_ai.request.model": "small"})
    told = service.post("/v1/otlp/v1/traces", traces(bare, span(8, chat("?!")))).json()["partialSuccess"]
    assert (told["rejectedSpans"], "capture the content" in told["errorMessage"]) == ("2", True)
    loose = [evaluation(None, "Lost", evaluation__score__value=1.0), evaluation(7, "Stars", evaluation__score__value=4)]
    told = service.post("/v1/otlp/v1/logs", logs(*loose)).json()["partialSuccess"]
    assert (told["rejectedLogRecords"], "names neither" in told["errorMessage"]) == ("2", True)


def test_scores_labels_and_scales():
    def quality(scales: dict[str, tuple[float, float]] | None = None, **told: Any) -> float | None:
        _, events = decoded("logs", "application/json", json.dumps(logs(evaluation(1, "E", **told))).encode())
        facts = told_by([], events, scales or {}, "", AwaitedTexts())[1]
        return facts[0].quality if facts else None

    assert quality(evaluation__score__value=0.3) == 0.3
    assert quality(evaluation__score__value=4.0) is None
    assert quality({"E": (1, 5)}, evaluation__score__value=4.0) == 0.75
    assert quality({"E": (1, 0)}, evaluation__score__value=0.25) == 0.75  # a score of flaws
    assert quality({"E": (1, 5)}, evaluation__score__value=9) == 1.0
    assert quality(evaluation__score__label="Not relevant") == 0.0
    assert quality(evaluation__score__label="pass", evaluation__score__value=0.7) == 0.7
    assert quality(evaluation__score__label="fail", evaluation__score__value=0.9) == 0.0
    assert quality(evaluation__score__label="purple") is None
    with pytest.raises(ConfigError, match="two numbers that differ"):
        ServiceOptions(evaluation_scales={"E": (1, 1)})


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (json.dumps(traces({"traceId": "xyz"})).encode(), "application/json", 400),
        (json.dumps(traces({"startTimeUnixNano": "soon"})).encode(), "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "application/json", 200),
        (b"null", "application/json", 400),
    ],
)
def test_a_body_that_is_no_otlp_is_refused(service, body, kind, status):
    answer = service.post("/v1/otlp/v1/traces", content=body, headers={"content-type": kind})
    assert answer.status_code == status, answer.text


def test_gzip_and_keys_are_those_of_the_service(service, service_store, space):
    name = space()
    _, token = service_store.create_key(name, "collector", ["record"])
    _, reader = service_store.create_key(name, "reader", ["read"])
    body = gzip.compress(json.dumps(traces(span(9, chat("zipped")))).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    for key, status in ((token, 200), (reader, 403)):
        told = headers | {"authorization": f"Bearer {key}"}
        assert service.post("/v1/otlp/v1/traces", content=body, headers=told).status_code == status


def test_too_many_at_once_are_refused(service_url):
    with serving(service_url, OPTIONS.replace(most_batch=1)) as service:
        two = traces(span(10, chat("one")), span(11, chat("two")))
        assert service.post("/v1/otlp/v1/traces", two).status_code == 413


def test_a_rejection_in_protobuf_is_what_collectors_read():
    assert answered("traces", "application/x-protobuf", 0, "") == b""
    assert answered("traces", "application/x-protobuf", 300, "why") == b"\x0a\x08\x08\xac\x02\x12\x03why"


def test_the_trajectory_of_a_span_is_forgotten_after_the_weeks_that_feedback_waits(ledger: Ledger):
    space_id = ledger.space("told", 8).space_id
    alone, answered_one = (TelemetryKeys.of(TRACE, "1", response, inference=True) for response in ("", "r1"))
    made = ledger.database.telemetry.claim(space_id, [(alone, uuid7())])
    assert ledger.database.telemetry.claim(space_id, [(answered_one, uuid7())])[0].id == made[0].id
    for weeks, left in ((12, 3), (14, 0)):
        at = datetime.now(UTC) + timedelta(weeks=weeks)
        list(Maintenance(ledger.database.engine, MaintenanceConfig(), lambda at=at: at).run())
        assert len(ledger.rows("SELECT FROM sona.telemetry_ids")) == left
    with pytest.raises(SpaceRemoved):
        ledger.database.telemetry.claim(999, [(alone, uuid7())])
