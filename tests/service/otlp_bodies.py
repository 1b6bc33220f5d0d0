"""Bodies of OTLP as JSON: spans of models, and evaluations of them."""

from __future__ import annotations

import json
import time
from typing import Any

NOW = time.time_ns()
TRACE = "0af7651916cd43dd8448eb211c80319c"


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
