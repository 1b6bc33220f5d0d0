"""Vectors on the wire: JSON arrays of numbers, or base64 of little-endian float32."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from sona_pg.errors import ConfigError, DimensionMismatch, InvalidValue
from sona_pg.limits import LONGEST_QUERY, MAX_DIM, MAX_HALF
from sona_pg.service.operations import Call
from sona_pg.service.problems import field_problem

Encoding = Literal["json", "base64"]
NUMBERS = {"type": "array", "items": {"type": "number", "minimum": -MAX_HALF, "maximum": MAX_HALF}, "minItems": 1}
Half = Annotated[float, Field(ge=-MAX_HALF, le=MAX_HALF)]
LONGEST_BASE64 = 4 * (4 * MAX_DIM + 2) // 3


class _VectorSchema:
    """Reads a vector into (n,) float32."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        numbers = core_schema.list_schema(core_schema.float_schema(strict=True), min_length=1, max_length=MAX_DIM)
        text = core_schema.str_schema(strict=True, max_length=LONGEST_BASE64)
        return core_schema.no_info_after_validator_function(
            _vector, core_schema.union_schema([text, numbers], mode="left_to_right")
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "anyOf": [
                {**NUMBERS, "maxItems": MAX_DIM},
                {"type": "string", "contentEncoding": "base64", "description": "little-endian float32"},
            ]
        }


Vector = Annotated[NDArray[np.float32], _VectorSchema()]


def _vector(value: str | list[float]) -> NDArray[np.float32]:
    if isinstance(value, str):
        array = _decoded(value)
    else:
        with np.errstate(over="ignore"):
            array = np.array(value, np.float32)
    if not (np.abs(array) <= MAX_HALF).all():
        raise ValueError(f"expected finite numbers within ±{MAX_HALF:g}: vectors are stored in half precision")
    return array


def _decoded(text: str) -> NDArray[np.float32]:
    try:
        return np.frombuffer(binascii.a2b_base64(text, strict_mode=True), "<f4")
    except ValueError as exc:  # binascii.Error is one
        raise ValueError(f"no base64 of little-endian float32: {exc}") from exc


# Rows of vectors as they come: `matrix_of` decodes them together, which costs a fraction of one at a time.
WireRow = (
    Annotated[str, Field(max_length=LONGEST_BASE64)] | Annotated[list[Half], Field(min_length=1, max_length=MAX_DIM)]
)
WireMatrix = Annotated[list[WireRow], Field(min_length=1)]


def matrix_of(rows: list[str | list[float]], dim: int, pointer: str) -> NDArray[np.float32]:
    """Return rows (n, dim); raise the problem of the first that has another dimension, or is no vector."""
    if all(type(row) is str for row in rows):
        try:
            data = b"".join([binascii.a2b_base64(row, strict_mode=True) for row in rows])  # type: ignore[arg-type]
        except ValueError:
            data = b""  # the row is named below
        if len(data) == 4 * dim * len(rows):
            matrix = np.frombuffer(data, "<f4").reshape(len(rows), dim)
            if (np.abs(matrix) <= MAX_HALF).all():
                return matrix
    made = []
    for place, row in enumerate(rows):
        try:
            vector = _vector(row)
        except ValueError as exc:
            raise field_problem(f"{pointer}/{place}", str(exc)) from exc
        made.append(require_dim(vector, dim, f"{pointer}/{place}"))
    return np.stack(made)


class Asked(BaseModel):
    """What is asked: a vector of the space, or a text that the space's embedder makes one of."""

    model_config = {
        "strict": True,
        "extra": "forbid",
        "json_schema_extra": {"anyOf": [{"required": ["vector"]}, {"required": ["text"]}]},
    }

    vector: Vector | None = None
    text: Annotated[str, Field(min_length=1, max_length=LONGEST_QUERY)] | None = None


def told(array: NDArray[np.float32], encoding: Encoding) -> Any:
    """Return a vector, or rows of them, as they are answered."""
    if encoding == "json":
        return np.ascontiguousarray(array)
    if array.ndim == 1:
        return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()
    return [base64.b64encode(np.ascontiguousarray(row, "<f4").tobytes()).decode() for row in array]


async def vector_of(call: Call[Any], body: Asked) -> NDArray[np.float32]:
    """Return the vector (dim,) that is asked about; a text is embedded."""
    engine = await call.engine()
    if body.vector is not None:
        return require_dim(body.vector, engine.dim, "/vector")
    made: NDArray[np.float32] = (await embedded(call, [body.text], "/text"))[0]
    return made


def require_dim(vector: NDArray[np.float32], dim: int, pointer: str) -> NDArray[np.float32]:
    """Return ``vector``; raise the problem of its field unless it has the space's dimension."""
    if len(vector) != dim:
        raise field_problem(pointer, str(DimensionMismatch(dim, len(vector), pointer[1:])))
    return vector


async def embedded(call: Call[Any], texts: Sequence[str | None], pointer: str) -> NDArray[np.float32]:
    """Return the embeddings of texts, (n, dim)."""
    for place, text in enumerate(texts):
        if text is None or not text.strip() or len(text) > LONGEST_QUERY or "\0" in text:
            where = pointer if len(texts) == 1 else f"{pointer}/{place}"
            raise field_problem(where, "expected a text that says something, or a vector")
    engine = await call.engine()
    try:
        vectors = await engine.embed([text for text in texts if text is not None])
    except ConfigError as exc:
        raise field_problem(pointer, str(exc)) from exc
    if not vectors.any(axis=1).all():
        raise InvalidValue("text has no word that the space's embedder knows: its embedding is all 0")
    return vectors
