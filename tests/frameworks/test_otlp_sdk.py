"""The real OpenTelemetry SDK exports to the running service: no other code of the application's is needed."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import psycopg
import pytest
import uvicorn
from fix_frameworks import DIM, EMBEDDER, QUIET, require

require("opentelemetry.exporter.otlp.proto.http")

from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as names

from sona_pg import Store
from sona_pg.service import ServiceOptions, create_app
from sona_pg.service.otlp_decoding import answered

ROWS = """
SELECT o.route, o.quality, t.query, t.latency_us > 0, t.context, f.source FROM sona.outcomes o
JOIN sona.trajectories t ON t.id = o.trajectory_id LEFT JOIN sona.feedback f ON f.trajectory_id = t.id
"""


@pytest.fixture
def endpoint(database_url: str) -> Iterator[tuple[str, Store]]:
    options = ServiceOptions(dim=DIM, config=QUIET)
    with Store(database_url) as store, socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app(store, options, embedder=EMBEDDER), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1/otlp", store
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.mark.parametrize("evaluated_first", [False, True])
def test_an_instrumented_application_teaches(endpoint: Any, database_url: str, evaluated_first: bool) -> None:
    url, store = endpoint
    resource = Resource.create({"service.name": "shop"})
    spans, logs = TracerProvider(resource=resource), LoggerProvider(resource=resource)
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{url}/v1/logs")))
    told = {
        names.GEN_AI_OPERATION_NAME: "chat",
        names.GEN_AI_REQUEST_MODEL: "small",
        names.GEN_AI_INPUT_MESSAGES: json.dumps(
            [{"role": "user", "parts": [{"type": "text", "content": "where is my parcel"}]}]
        ),
    }
    judged = {names.GEN_AI_EVALUATION_NAME: "Relevance", names.GEN_AI_EVALUATION_SCORE_VALUE: 0.25}
    with spans.get_tracer("app").start_as_current_span("chat small", attributes=told):
        logs.get_logger("app").emit(LogRecord(event_name="gen_ai.evaluation.result", attributes=judged))
    first, second = (logs, spans) if evaluated_first else (spans, logs)
    for provider in (first, second):
        assert provider.force_flush()
    store.space("default", DIM, config=QUIET).flush()
    with psycopg.connect(database_url) as connection:
        assert connection.execute(ROWS).fetchall() == [
            ("small", 0.25, "where is my parcel", True, ["service:shop"], "http:Relevance")
        ]
    for provider in (spans, logs):
        provider.shutdown()


def test_an_instrumented_client_of_openai_teaches(
    endpoint: Any, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, store = endpoint
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    spans, logs = TracerProvider(), LoggerProvider()
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{url}/v1/logs")))
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "in Rome"}}
    answer = {"id": "r", "object": "chat.completion", "created": 1, "model": "small-2026", "choices": [choice]}
    upstream = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=spans, logger_provider=logs)
    try:
        client = openai.OpenAI(api_key="none", http_client=httpx.Client(transport=upstream))
        client.chat.completions.create(model="small", messages=[{"role": "user", "content": "where is my parcel"}])
    finally:
        instrumentor.uninstrument()
    for provider in (spans, logs):
        assert provider.force_flush()
        provider.shutdown()
    store.space("default", DIM, config=QUIET).flush()
    with psycopg.connect(database_url) as connection:
        assert [row[:4] for row in connection.execute(ROWS)] == [("small", None, "where is my parcel", True)]


def test_a_rejection_is_read_by_the_collectors_own_message() -> None:
    message = ExportTraceServiceResponse.FromString(answered("traces", "application/x-protobuf", 300, "why"))
    assert (message.partial_success.rejected_spans, message.partial_success.error_message) == (300, "why")
