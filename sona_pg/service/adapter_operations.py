"""Operation that hands out the adapters and patterns, for clients that apply them themselves."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import numpy as np
import orjson
from pydantic import BaseModel
from starlette.responses import Response

from sona_pg.domain.state import LoraWeights
from sona_pg.engine.served_parts import ServedParts
from sona_pg.service.ask_operations import PatternAnswer, pattern_as_dict
from sona_pg.service.operations import JSON, Call, Operations

operations = Operations("adapters")


class LoraAnswer(BaseModel):
    """A low-rank adapter: x becomes x + scale · bᵀ(a x)."""

    rank: int
    scale: float
    a: str  # base64 of little-endian float32, (rank, dim)
    b: str  # the same


class AdaptersAnswer(BaseModel):
    """What `/v1/adapt` and `/v1/patterns` answer with now."""

    version: int
    dim: int
    micro: LoraAnswer
    base: list[LoraAnswer]
    patterns: list[PatternAnswer]  # their similarity is 0: nothing was asked
    centroids: str  # base64 of little-endian float32, (patterns, dim), of length 1


@operations.add("GET", "/v1/adapters", scope="read", answer=AdaptersAnswer)
async def adapters(call: Call[Any]) -> Any:
    """Return the adapters and patterns, to be applied by the client; by `If-None-Match` only if they have changed."""
    engine = await call.engine()
    parts = ServedParts.of(engine.engine)
    seen = hashlib.sha256(parts.micro.a.tobytes() + parts.micro.b.tobytes()).hexdigest()[:16]
    headers = {"ETag": f'"{parts.version}-{seen}"', "Cache-Control": "no-cache"}
    if call.request.headers.get("if-none-match", "").removeprefix("W/") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    centroids = [pattern.centroid for pattern in parts.patterns]
    told = {
        "version": parts.version,
        "dim": engine.dim,
        "micro": _told(parts.micro),
        "base": [_told(layer) for layer in parts.base],
        "patterns": [pattern_as_dict(pattern.found(0.0, parts.use_of(pattern))) for pattern in parts.patterns],
        "centroids": _coded(np.array(centroids, np.float32)),
    }
    return Response(orjson.dumps(told), headers=headers, media_type=JSON)


def _told(weights: LoraWeights) -> dict[str, Any]:
    return {"rank": weights.rank, "scale": weights.scale, "a": _coded(weights.a), "b": _coded(weights.b)}


def _coded(array: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()
