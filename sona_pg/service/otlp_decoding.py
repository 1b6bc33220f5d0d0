"""OTLP requests, JSON or protobuf, as spans and events with plain attributes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from sona_pg.service.problems import ProblemError

Signal = Literal["traces", "logs"]
JSON, PROTOBUF = "application/json", "application/x-protobuf"
ERROR = 2  # status of a span that failed
MOST_NESTED = 32  # values of an attribute


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """A log record with a name, or an event of a span."""

    name: str
    trace: str  # hex; empty without a trace
    span: str
    at: int  # nanoseconds since 1970
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    body: Any = None  # of a log record


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span."""

    trace: str
    span: str
    began: int  # nanoseconds since 1970
    ended: int
    failed: bool
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    events: list[ReceivedEvent] = field(default_factory=list)


def decoded(signal: Signal, kind: str, raw: bytes) -> tuple[list[ReceivedSpan], list[ReceivedEvent]]:
    """Return the spans and events of an export request.

    Raises:
        ProblemError: 415 for another type, or protobuf without its extra; 400 for a body that cannot be read.
    """
    if kind == JSON:
        try:
            message = orjson.loads(raw)
        except orjson.JSONDecodeError as exc:
            raise ProblemError(400, f"the body is no JSON: {exc}") from exc
    elif kind == PROTOBUF:
        message = _of_protobuf(signal, raw)
    else:
        raise ProblemError(415, f"Content-Type is {kind!r:.60}: expected {JSON} or {PROTOBUF}")
    try:
        return _received(signal, message)
    except (AttributeError, TypeError, ValueError, KeyError, OverflowError) as exc:
        told = f"the body is no OTLP request for {signal}: a field is missing, or has another type"
        raise ProblemError(400, told) from exc


def answered(signal: Signal, kind: str, rejected: int, reason: str) -> bytes:
    """Return the body of an answer: how many spans or log records were rejected, and why; a warning if none was."""
    name = "rejectedSpans" if signal == "traces" else "rejectedLogRecords"
    if kind == JSON:
        return orjson.dumps({"partialSuccess": {name: str(rejected), "errorMessage": reason}} if reason else {})
    if not reason:
        return b""
    told = reason.encode()
    count = b"\x08" + _varint(rejected) if rejected else b""
    success = count + b"\x12" + _varint(len(told)) + told  # its fields 1 and 2
    return b"\x0a" + _varint(len(success)) + success


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _of_protobuf(signal: Signal, raw: bytes) -> Any:
    try:
        from google.protobuf.json_format import MessageToDict
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ModuleNotFoundError as exc:
        told = f"protobuf needs an extra here: pip install 'sona-pg[otlp]'; or send {JSON} ({exc.name} is missing)"
        raise ProblemError(415, told) from exc
    try:
        request = (ExportTraceServiceRequest if signal == "traces" else ExportLogsServiceRequest).FromString(raw)
    except DecodeError as exc:
        raise ProblemError(400, f"the body is no OTLP request for {signal}: {exc}") from exc
    return _with_hex_ids(MessageToDict(request))


def _with_hex_ids(message: Any) -> Any:
    """Return a message in which ids are hex, as OTLP's JSON has them; protobuf's JSON has base64."""
    if isinstance(message, list):
        return [_with_hex_ids(one) for one in message]
    if isinstance(message, dict):
        ids = ("traceId", "spanId", "parentSpanId")
        return {
            name: base64.b64decode(value).hex() if name in ids and isinstance(value, str) else _with_hex_ids(value)
            for name, value in message.items()
        }
    return message


def _received(signal: Signal, message: Any) -> tuple[list[ReceivedSpan], list[ReceivedEvent]]:
    spans: list[ReceivedSpan] = []
    events: list[ReceivedEvent] = []
    if signal == "traces":
        for resource, row in _rows(message, "resourceSpans", "scopeSpans", "spans"):
            spans.append(_span(resource, row))
    else:
        for resource, row in _rows(message, "resourceLogs", "scopeLogs", "logRecords"):
            attributes = _attributes(row)
            name = row.get("eventName") or attributes.get("event.name") or ""
            at = int(row.get("timeUnixNano") or row.get("observedTimeUnixNano") or 0)
            trace, span = _hex(row, "traceId"), _hex(row, "spanId")
            body = _value(row.get("body") or {}, 0)
            events.append(ReceivedEvent(str(name), trace, span, at, attributes, resource, body))
    return spans, events


def _rows(message: Any, *names: str) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    of_resources, of_scopes, of_rows = names
    for one in message.get(of_resources) or ():
        resource = _attributes(one.get("resource") or {})
        for scope in one.get(of_scopes) or ():
            for row in scope.get(of_rows) or ():
                yield resource, row


def _span(resource: Mapping[str, Any], row: Mapping[str, Any]) -> ReceivedSpan:
    trace, span = _hex(row, "traceId"), _hex(row, "spanId")
    status = (row.get("status") or {}).get("code", 0)
    return ReceivedSpan(
        trace, span, int(row.get("startTimeUnixNano") or 0), int(row.get("endTimeUnixNano") or 0),
        status in (ERROR, "STATUS_CODE_ERROR"), _attributes(row), resource,
        [
            ReceivedEvent(str(event.get("name", "")), trace, span, int(event.get("timeUnixNano") or 0),
                          _attributes(event), resource)
            for event in row.get("events") or ()
        ],
    )  # fmt: skip


def _hex(row: Mapping[str, Any], name: str) -> str:
    told = row.get(name) or ""
    try:
        return bytes.fromhex(told).hex()
    except ValueError as exc:
        raise ValueError(f"{name} {told!r:.40} is not hexadecimal") from exc


def _attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    return {pair["key"]: _value(pair.get("value") or {}, 0) for pair in row.get("attributes") or ()}


def _value(told: Mapping[str, Any], depth: int) -> Any:
    """Return an AnyValue as Python has it."""
    if depth > MOST_NESTED:
        raise ValueError(f"an attribute is nested more than {MOST_NESTED} deep")
    for name, value in told.items():
        match name:
            case "intValue":
                return int(value)
            case "doubleValue":
                return float(value)
            case "arrayValue":
                return [_value(one, depth + 1) for one in value.get("values") or ()]
            case "kvlistValue":
                pairs = value.get("values") or ()
                return {pair["key"]: _value(pair.get("value") or {}, depth + 1) for pair in pairs}
            case "bytesValue":
                try:
                    return base64.b64decode(value)
                except binascii.Error as exc:
                    raise ValueError(f"bytesValue is no base64: {exc}") from exc
            case _:
                return value
    return None
