"""JSON of rows: read by orjson where it is installed, and vectors of half precision written from a table."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

SURROGATE = re.compile(r"\\ud", re.IGNORECASE)  # as JSON escapes it


def read_cell(text: str | bytes) -> Any:
    """Return the value of JSON; ValueError, as of orjson, for half of a surrogate pair, which no text can hold."""
    told = text if isinstance(text, str) else text.decode()
    value = json.loads(told)
    if SURROGATE.search(told):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as exc:
            raise ValueError("half of a surrogate pair: expected two \\u escapes, or the character itself") from exc
    return value


def _reader() -> Any:
    try:
        return import_module("orjson").loads  # extra `server` brings it: three times as fast as the standard library
    except ModuleNotFoundError:
        return read_cell


read_json = _reader()


def write_row(row: dict[str, Any], embedding: NDArray[np.float16] | None = None) -> str:
    """Return one line of JSON, without what is None or empty, and with the embedding (dim,) at its end."""
    text = json.dumps({name: value for name, value in row.items() if value is not None and value != []})
    if embedding is None:
        return text + "\n"
    numbers = ",".join(map(_halves().__getitem__, embedding.view(np.uint16).tolist()))
    return f'{text[:-1]}{", " if len(text) > 2 else ""}"embedding": [{numbers}]}}\n'


def shortest(value: float | None) -> float | None:
    """Return the number with the fewest digits that is the same in single precision."""
    return None if value is None else float(str(np.float32(value)))


@cache
def _halves() -> list[str]:
    """Return the shortest text of every number of half precision, by its bits."""
    return [str(value) for value in np.arange(65536, dtype=np.uint16).view(np.float16)]
