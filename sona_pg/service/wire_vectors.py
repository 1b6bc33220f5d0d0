"""Vectors on the wire: JSON arrays of numbers, or base64 of little-endian float32."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from sona_pg.errors import ConfigError, DimensionMismatch, InvalidValue
from sona_pg.limits import LONGEST_QUERY, MAX_DIM, MAX_HALF
from sona_pg.service.operations import Call
from sona_pg.service.problems import field_problem

Encoding = Literal["json", "base64"]
NUMBERS = {"type": "array", "items": {"type": "number", "minimum": -MAX_HALF, "maximum": MAX_HALF}, "minItems": 1}
Half = Annotated[float, Field(ge=-MAX_HALF, le=MAX_HALF)]
BASE64 = {"type": "string", "contentEncoding": "base64", "description": "little-endian float32", "minLength": 6}


STRICT: Any = {"strict": True, "extra": "forbid", "val_json_bytes": "base64"}  # of every body


class _VectorSchema:
    """Reads a vector into (n,) float32."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        numbers = core_schema.list_schema(core_schema.float_schema(strict=True), min_length=1, max_length=MAX_DIM)
        text = core_schema.bytes_schema(strict=True, min_length=4, max_length=4 * MAX_DIM)
        return core_schema.no_info_after_validator_function(
            _vector, core_schema.union_schema([text, numbers], mode="left_to_right")
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "anyOf": [
                {**NUMBERS, "maxItems": MAX_DIM},
                BASE64,
            ]
        }


Vector = Annotated[NDArray[np.float32], _VectorSchema()]


def _vector(value: bytes | list[float]) -> NDArray[np.float32]:
    if isinstance(value, bytes):
        if len(value) % 4:
            raise ValueError(f"{len(value)} bytes are no float32 numbers: expected 4 for each")
        array: NDArray[np.float32] = np.frombuffer(value, "<f4")
    else:
        with np.errstate(over="ignore"):
            array = np.array(value, np.float32)
    if not (np.abs(array) <= MAX_HALF).all():
        raise ValueError(f"expected finite numbers within ±{MAX_HALF:g}: vectors are stored in half precision")
    return array


# Rows of vectors as they come: pydantic has decoded their base64, and the rest is done for all of them together.
WireRow = (
    Annotated[bytes, Field(min_length=4, max_length=4 * MAX_DIM), WithJsonSchema(BASE64)]
    | Annotated[list[Half], Field(min_length=1, max_length=MAX_DIM)]
)
WireMatrix = Annotated[list[WireRow], Field(min_length=1)]


def require_dims(rows: Sequence[bytes | list[float]], dim: int, pointer: str) -> None:
    """Raise the problem of the first row that has another dimension than the space."""
    for place, row in enumerate(rows):
        length, rest = divmod(len(row), 4) if type(row) is bytes else (len(row), 0)
        if length != dim or rest:
            raise field_problem(f"{pointer}/{place}", str(DimensionMismatch(dim, length, pointer[1:])))


FLOAT32 = np.dtype("<f4")


def row_of(row: bytes | list[float]) -> NDArray[np.float32]:
    """Return a row whose dimension was checked."""
    return np.frombuffer(row, FLOAT32) if type(row) is bytes else np.array(row, np.float32)


def matrix_of(rows: Sequence[bytes | list[float]], dim: int, pointer: str) -> NDArray[np.float32]:
    """Return rows (n, dim); raise the problem of the first that has another dimension, or is no vector."""
    require_dims(rows, dim, pointer)
    matrix = np.stack([row_of(row) for row in rows])
    beyond = np.flatnonzero(~(np.abs(matrix) <= MAX_HALF).all(axis=1))
    if len(beyond):
        raise field_problem(f"{pointer}/{beyond[0]}", f"expected finite numbers within ±{MAX_HALF:g}")
    return matrix


class Asked(BaseModel):
    """What is asked: a vector of the space, or a text that the space's embedder makes one of."""

    model_config = STRICT | {"json_schema_extra": {"anyOf": [{"required": ["vector"]}, {"required": ["text"]}]}}

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
