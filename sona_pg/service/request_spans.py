"""OpenTelemetry out: facts of the service on the span of each request, which FastAPI makes and an SDK sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

try:
    from opentelemetry import trace

    HAS_SPANS = True
except ModuleNotFoundError:  # an older FastAPI, without extra ``otel``
    HAS_SPANS = False

TOLD = ("space", "trajectory")  # of a scope, each after ``sona.``
PROBES = ("/live", "/ready", "/health", "/metrics")  # asked every few seconds by machines


def tell_span(scope: Mapping[str, Any]) -> None:
    """Add what the handler has found out about a request to the span that is going on, if one is."""
    if not HAS_SPANS:
        return
    span = trace.get_current_span()
    if span.is_recording():
        for name in TOLD:
            fact = scope.get(f"sona.{name}")
            if fact is not None:
                span.set_attribute(f"sona.{name}", str(fact))


def is_probe(scope: Mapping[str, Any]) -> bool:
    """Return whether a request is to be left out of traces."""
    return scope.get("path") in PROBES


def current_ids() -> dict[str, str]:
    """Return the ids of the trace and the span that are going on, for a line of the log."""
    if not HAS_SPANS:
        return {}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}
