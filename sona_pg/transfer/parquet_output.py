"""Exported rows as a Parquet file, in row groups of bounded size (extra ``parquet``)."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from sona_pg.transfer.json_codec import read_json
from sona_pg.transfer.parquet_rows import imported_pyarrow

GROUP = 5_000  # rows of a row group: 5 MB of embeddings
# Columns by kind of rows, and the type of each; what has no fixed shape is JSON.
COLUMNS = {
    "trajectories": {
        "id": "string", "started_at": "time", "query": "string", "route": "string",
        "quality": "float32", "outcome": "float32", "latency": "float64", "cost": "float64", "context": "texts",
        "parameters": "json", "candidates": "json", "decision": "json", "version": "int64", "steps": "json",
        "feedback": "json", "imported_id": "string", "embedding": "vector",
    },
    "candidates": {
        "candidate": "string", "text": "string", "group": "string", "retired": "bool", "embedding": "vector",
    },
    "pairs": {
        "query": "string", "chosen": "string", "rejected": "string", "reason": "string", "trajectory": "string",
        "started_at": "time",
    },
}  # fmt: skip


class ParquetOutput:
    """Writes lines of an export as the rows of a Parquet file; a context manager."""

    def __init__(self, path: Path, kind: str) -> None:
        """Open the file for rows of a kind.

        Raises:
            ConfigError: the extra ``parquet`` is not installed.
            OSError: the file cannot be written.
        """
        arrow, parquet = imported_pyarrow()
        self._arrow, self._columns = arrow, COLUMNS[kind]
        types = {
            "string": arrow.string(), "json": arrow.string(), "time": arrow.timestamp("us", "UTC"),
            "float32": arrow.float32(), "float64": arrow.float64(), "int64": arrow.int64(),
            "texts": arrow.list_(arrow.string()), "bool": arrow.bool_(), "vector": arrow.list_(arrow.float32()),
        }  # fmt: skip
        self._schema = arrow.schema([(name, types[told]) for name, told in self._columns.items()])
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, line: str) -> None:
        """Add the row of one line of JSON."""
        row = read_json(line)
        self._rows.append({name: self._value(row.get(name), told) for name, told in self._columns.items()})
        if len(self._rows) >= GROUP:
            self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def _value(self, value: Any, told: str) -> Any:
        if value is None or told not in ("json", "time"):
            return value
        if told == "json":
            return json.dumps(value)
        return datetime.fromisoformat(value)

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []
