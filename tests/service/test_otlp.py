"""OTLP as JSON: spans of models become trajectories, evaluations feedback, whichever comes first, once."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
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
from sona_pg.store.erasure_statements import REMOVE
from tests.service.conftest import OPTIONS, serving

NOW = time.time_ns()
TRACE = "0af7651916cd43dd8448eb211c80319c"
ROWS = """
SELECT o.route, o.quality, t.query, t.latency_us, t.context, t.parameters, f.source, f.quality
FROM sona.outcomes o JOIN sona.trajectories t ON t.id = o.trajectory_id
JOIN sona.spaces s ON s.space_id = t.space_id AND s.name = %s
LEFT JOIN sona.feedback f ON f.space_id = t.space_id AND f.trajectory_id = t.id ORDER BY t.id
"""


def value(told: Any) -> dict[str, Any]:
    if isinstance(told, bool):
        return {"boolValue": told}
    if isinstance(told, int):
        return {"intValue": str(told)}
    if isinstance(told, float):
        return {"doubleValue": told}
    if isinstance(told, list):
        return {"arrayValue": {"values": [value(one) for one in told]}}
    if isinstance(told, dict):
        return {"kvlistValue": {"values": attributes(told)}}
    return {"stringValue": told}


def attributes(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": value(one)} for name, one in told.items()]


def asked(text: str) -> list[dict[str, Any]]:
    return [
        {"role": "user", "parts": [{"type": "text", "content": "earlier"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "yes?"}]},
        {"role": "user", "parts": [{"type": "text", "content": text}]},
    ]


def span(number: int, told: dict[str, Any], **more: Any) -> dict[str, Any]:
    row = {"traceId": TRACE, "spanId": f"{number:016x}", "name": "chat", "startTimeUnixNano": str(NOW),
           "endTimeUnixNano": str(NOW + 1_500_000_000), "attributes": attributes(told)}  # fmt: skip
    return row | more


def chat(text: str, **more: Any) -> dict[str, Any]:
    told = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "small"}
    return told | {"gen_ai.input.messages": json.dumps(asked(text))} | more


def traces(*spans: dict[str, Any]) -> dict[str, Any]:
    resource = {"attributes": attributes({"service.name": "shop"})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": list(spans)}]}]}


def evaluation(number: int | None, name: str, at: int = NOW, **told: Any) -> dict[str, Any]:
    of = {} if number is None else {"traceId": TRACE, "spanId": f"{number:016x}"}
    known = {"gen_ai.evaluation.name": name} | {f"gen_ai.{key.replace('__', '.')}": one for key, one in told.items()}
    return of | {"eventName": "gen_ai.evaluation.result", "timeUnixNano": str(at), "attributes": attributes(known)}


def logs(*records: dict[str, Any]) -> dict[str, Any]:
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": list(records)}]}]}


@pytest.fixture
def rows(service, service_url):
    def read(name: str) -> list[tuple]:
        service.post("/v1/learn", params={"space": name})  # which commits first
        with psycopg.connect(service_url) as connection:
            return connection.execute(ROWS, [name]).fetchall()

    return read


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


def test_spans_of_several_traces_with_one_response_id_are_trajectories_of_their_own(service, space, rows):
    name = {"space": space()}
    first, second, nested = chat("first"), chat("second"), chat("first", **{"gen_ai.request.model": "inner"})
    for told in (first, second, nested):
        told["gen_ai.response.id"] = "cached"
    elsewhere = span(1, second, traceId=TRACE[::-1])
    score = evaluation(None, "Early", response__id="cached", evaluation__score__value=1.0)
    service.post("/v1/otlp/v1/logs", logs(score), params=name)
    for sent in (traces(span(1, first), elsewhere), traces(elsewhere), traces(span(2, nested))):
        assert service.post("/v1/otlp/v1/traces", sent, params=name).json() == {}
    judged = evaluation(9, "Late", response__id="cached", evaluation__score__value=0.0)
    service.post("/v1/otlp/v1/logs", logs(judged | {"traceId": TRACE[::-1]}), params=name)
    found = {(row[2], row[6], row[7]) for row in rows(name["space"])}
    assert found == {("first", "http:Early", 1.0), ("second", "http:Late", 0.0)}


def test_spans_of_one_response_are_kept_when_an_evaluation_came_before_them(service, space, rows):
    name = {"space": space()}
    first, second = (chat(text, **{"gen_ai.response.id": "cached"}) for text in ("first", "second"))
    score = evaluation(2, "Early", response__id="cached", evaluation__score__value=1.0) | {"traceId": TRACE[::-1]}
    for signal, sent, doubt in (
        ("logs", logs(score), ""),
        ("traces", traces(span(1, first)), ""),
        ("traces", traces(span(2, second, traceId=TRACE[::-1])), "came before the span, and counts for another"),
    ):
        told = service.post(f"/v1/otlp/v1/{signal}", sent, params=name).json().get("partialSuccess", {})
        assert doubt in told.get("errorMessage", "")
        assert bool(told) == bool(doubt)
        assert told.get("rejectedSpans", "0") == "0"
    assert sorted((row[2], row[6]) for row in rows(name["space"])) == [("first", "http:Early"), ("second", None)]


def test_an_evaluation_that_several_traces_may_mean_is_rejected(service, space, rows):
    name = {"space": space()}
    for number, trace in ((1, TRACE), (2, TRACE[::-1])):
        told = chat(f"asked {number}", **{"gen_ai.response.id": "cached"})
        assert service.post("/v1/otlp/v1/traces", traces(span(number, told, traceId=trace)), params=name).json() == {}
    by_response = evaluation(9, "Open", response__id="cached", evaluation__score__value=1.0)
    for judged in (evaluation(None, "Open", response__id="cached"), by_response):
        judged = judged | {"traceId": "c" * 32, "attributes": by_response["attributes"]}
        told = service.post("/v1/otlp/v1/logs", logs(judged), params=name).json()["partialSuccess"]
        assert (told["rejectedLogRecords"], "several traces" in told["errorMessage"]) == ("1", True)
    certain = evaluation(9, "Near", response__id="cached", evaluation__score__value=0.0) | {"traceId": TRACE[::-1]}
    assert service.post("/v1/otlp/v1/logs", logs(certain), params=name).json() == {}
    assert sorted((row[2], row[6]) for row in rows(name["space"])) == [("asked 1", None), ("asked 2", "http:Near")]


OF_FIRST = TelemetryKeys.of(TRACE, "1", "r", inference=True)
NESTED = TelemetryKeys.of(TRACE, "2", "r", inference=True)
OF_SECOND = TelemetryKeys.of(TRACE[::-1], "3", "r", inference=True)
JUDGED = TelemetryKeys.of(TRACE[::-1], "3", "r", inference=False)
BY_RESPONSE = TelemetryKeys.of("", "", "r", inference=False)
IN_JUDGE = TelemetryKeys.of("c" * 32, "9", "r", inference=False)  # parented to a judge's own span


def claimed(ledger: Ledger, space_id: int, *keys: TelemetryKeys) -> list[UUID]:
    """Return the ids of keys that are told one after the other."""
    return [ledger.database.telemetry.claim(space_id, [(one, uuid7())])[0].id for one in keys]


@pytest.mark.parametrize("together", [False, True])
def test_spans_and_evaluations_find_their_trajectories_in_every_order(ledger: Ledger, together: bool):
    for number, order in enumerate(itertools.permutations((OF_FIRST, NESTED, OF_SECOND, JUDGED))):
        space_id = ledger.space(f"orders {number}", 8).space_id
        if together:
            found = [claim.id for claim in ledger.database.telemetry.claim(space_id, [(one, uuid7()) for one in order])]
        else:
            found = claimed(ledger, space_id, *order)
        told = dict(zip(order, found, strict=True))
        assert told[OF_FIRST] == told[NESTED] != told[OF_SECOND], order
        foremost = next(one for one in order if one is not JUDGED)
        known = order.index(OF_SECOND) < order.index(JUDGED)
        assert told[JUDGED] == told[OF_SECOND if known else foremost], order
        again = claimed(ledger, space_id, *order)
        assert dict(zip(order, again, strict=True)) == told | {JUDGED: told[OF_SECOND]}, order


@pytest.mark.parametrize("judged", [BY_RESPONSE, IN_JUDGE])
def test_an_evaluation_by_response_finds_its_span_in_either_order(ledger: Ledger, judged: TelemetryKeys):
    for number, order in enumerate(itertools.permutations((OF_FIRST, judged))):
        assert len({*claimed(ledger, ledger.space(f"either {number}", 8).space_id, *order)}) == 1


def test_a_judge_evaluates_several_responses_within_one_span_before_theirs_have_come(ledger: Ledger):
    space_id = ledger.space("judge", 8).space_id
    judged = [TelemetryKeys.of("c" * 32, "9", response, inference=False) for response in ("r1", "r2")]
    spans = [TelemetryKeys.of(TRACE, response, response, inference=True) for response in ("r1", "r2")]
    first, second = claimed(ledger, space_id, *judged)
    assert first != second
    assert claimed(ledger, space_id, *spans) == [first, second]


def test_a_span_without_a_response_has_the_evaluation_that_named_one(ledger: Ledger):
    bare = [TelemetryKeys.of(TRACE, "1", "", inference=inference) for inference in (True, False)]
    evaluated = TelemetryKeys.of(TRACE, "1", "r", inference=False)
    for number, order in enumerate(itertools.permutations((*bare, evaluated))):
        assert len({*claimed(ledger, ledger.space(f"bare {number}", 8).space_id, *order)}) == 1, order


@pytest.mark.parametrize("response", ["", "agent's"])
@pytest.mark.parametrize("together", [False, True])
def test_an_evaluation_in_an_agents_span_leaves_each_span_its_trajectory(ledger: Ledger, response: str, together: bool):
    space_id = ledger.space("agents", 8).space_id
    told: list[tuple[TelemetryKeys, ...]] = []
    for number, order in enumerate(itertools.permutations(range(5))):
        keys = (
            TelemetryKeys.of(f"a{number}", "1", response and f"{response} {number}", inference=True),
            TelemetryKeys.of(f"a{number}", "2", f"r{number}", inference=True),  # the chat beneath
            TelemetryKeys.of(f"b{number}", "3", f"r{number}", inference=True),  # which shares its response
            TelemetryKeys.of(f"a{number}", "1", f"r{number}", inference=False),  # in the agent's span, of the chat
            TelemetryKeys.of(f"a{number}", "1", "", inference=False),
        )
        told.append(tuple(keys[one] for one in order))
    found: dict[TelemetryKeys, UUID | None] = {}
    everything = [one for keys in told for one in keys]
    for step in [everything] if together else list(zip(*told, strict=True)):
        claims = ledger.database.telemetry.claim(space_id, [(one, uuid7()) for one in step])
        found |= dict(zip(step, (claim.id for claim in claims), strict=True))
    spans = [one for one in everything if one.trace is not None]
    assert len({found[one] for one in spans}) == len(spans) == 360
    assert {found[one] for one in everything} - {found[one] for one in spans} <= {None}  # no evaluation by itself
    again = ledger.database.telemetry.claim(space_id, [(one, uuid7()) for one in spans])
    assert [claim.id for claim in again] == [found[one] for one in spans]


def test_agents_and_answers_are_both_kept_when_an_evaluation_came_before_them(service, space, rows):
    for answer_first in (True, False):
        name = {"space": space()}
        judged = evaluation(1, "Early", response__id="r", evaluation__score__value=0.0)
        assert service.post("/v1/otlp/v1/logs", logs(judged), params=name).json() == {}
        spans = [span(1, chat("plan")), span(2, chat("flights", **{"gen_ai.response.id": "r"}))]
        for one in reversed(spans) if answer_first else spans:
            assert service.post("/v1/otlp/v1/traces", traces(one), params=name).json() == {}
        early = "flights" if answer_first else "plan"
        told = {(row[2], row[6]) for row in rows(name["space"])}
        assert told == {(query, "http:Early" if query == early else None) for query in ("plan", "flights")}


def test_spans_and_evaluations_that_arrive_at_once_agree_on_their_trajectories(ledger: Ledger):
    space_id = ledger.space("at once", 8).space_id
    for number in range(10):
        told = [
            TelemetryKeys.of(TRACE, f"{number}a", f"r{number}", inference=True),
            TelemetryKeys.of(TRACE, f"{number}b", f"r{number}", inference=True),
            TelemetryKeys.of("", "", f"r{number}", inference=False),
            TelemetryKeys.of(TRACE[::-1], f"{number}c", f"r{number}", inference=True),
        ]
        told = told if number % 2 else told[:3]
        found: dict[int, UUID] = {}
        barrier = threading.Barrier(len(told))

        def claim(one: int, told=told, found=found, barrier=barrier) -> None:
            barrier.wait(60)
            (found[one],) = claimed(ledger, space_id, told[one])

        threads = [threading.Thread(target=claim, args=(one,)) for one in range(len(told))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert found[0] == found[1]
        if len(told) == 3:
            assert found[2] == found[0]
        else:
            assert found[3] != found[0]
            assert found[2] in (found[0], found[3], None)  # of the first, unless both were known


def test_what_tells_which_trace_had_a_response_goes_with_its_trajectory(ledger: Ledger):
    space = ledger.space("erased", 8)
    keys = TelemetryKeys.of(TRACE, "1", "r1", inference=True)
    made, _ = claimed(ledger, space.space_id, keys, TelemetryKeys.of(TRACE[::-1], "2", "r1", inference=True))
    with ledger.database.engine.begin() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute(REMOVE["telemetry_ids"], {"space": space.space_id, "ids": [made]})
    assert len(ledger.rows("SELECT FROM sona.telemetry_ids")) == 2  # of the other trace's span


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
