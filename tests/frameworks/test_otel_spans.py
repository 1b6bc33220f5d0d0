"""The real OpenTelemetry SDK sees a span for each request, in the caller's trace."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from fix_frameworks import require

require("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sona_pg.cli.log_lines import JsonLines
from tests.service.conftest import DIM, Service, serving

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
X = [1.0] * DIM
KEPT = InMemorySpanExporter()


@pytest.fixture(scope="module", autouse=True)
def provider() -> Iterator[None]:
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(KEPT))
    trace.set_tracer_provider(made)
    yield
    made.shutdown()


@pytest.fixture
def service(database_url: str) -> Iterator[Service]:
    with serving(database_url) as running:
        KEPT.clear()
        yield running


def test_a_request_is_a_span_that_continues_the_callers_trace(service, caplog):
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    with caplog.at_level(logging.INFO, "sona_pg.service.access"):
        id_ = service.post("/v1/trajectories", {"vector": X}, headers=headers).json()["id"]
    (span,) = KEPT.get_finished_spans()
    assert (span.name, span.kind) == ("POST /v1/trajectories", trace.SpanKind.SERVER)
    assert (trace.format_trace_id(span.context.trace_id), trace.format_span_id(span.parent.span_id)) == (TRACE, PARENT)
    told = dict(span.attributes)
    assert (told["http.route"], told["http.response.status_code"]) == ("/v1/trajectories", 202)
    assert (told["sona.trajectory"], told["sona.space"]) == (id_, "default")
    line = json.loads(JsonLines().format(caplog.records[-1]))
    assert (line["trajectory"], line["trace_id"]) == (id_, TRACE)


def test_probes_are_no_spans_and_a_refusal_is_one_without_a_trajectory(service):
    service.get("/live")
    assert KEPT.get_finished_spans() == ()
    service.post("/v1/trajectories", {"vector": [1.0]})
    (span,) = KEPT.get_finished_spans()
    assert span.attributes["http.response.status_code"] == 422
    assert "sona.trajectory" not in span.attributes
