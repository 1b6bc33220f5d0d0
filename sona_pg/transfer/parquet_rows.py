"""Rows of a Parquet file, one at a time, each with its place in the file (extra ``parquet``)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from sona_pg.errors import ConfigError, InvalidValue
from sona_pg.transfer.json_codec import read_json
from sona_pg.transfer.row_source import JSON_CELLS, Row

MAGIC = b"PAR1"
BATCH = 1024  # rows in memory at once


class ParquetRows:
    """Reads the rows of a Parquet file from a number of rows on; whole row groups before it are not read."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            InvalidValue: it cannot be read, or was cut short.
            ConfigError: the extra ``parquet`` is not installed.
        """
        pyarrow, parquet = imported_pyarrow()
        self._arrow = pyarrow
        try:
            self._file = parquet.ParquetFile(path)
            self.size = path.stat().st_size
        except (OSError, pyarrow.ArrowInvalid) as exc:
            raise InvalidValue(f"{path} cannot be read, or was cut short: {exc}") from exc
        self._path = path
        self._done = 0
        self._total: int = max(self._file.metadata.num_rows, 1)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def headings(self) -> list[str]:
        """Return the names of the columns."""
        return list(self._file.schema_arrow.names)

    @property
    def passed(self) -> int:
        """Bytes of the file up to the row yielded last, about."""
        return self.size * self._done // self._total

    @property
    def place(self) -> tuple[int, int]:
        """Rows up to the one that was yielded last, twice: as lines and as offset."""
        return self._done, self._done

    def rows(self, line: int = 0, offset: int = 0) -> Iterator[Row]:
        """Yield the rows behind the first ``offset``.

        Raises:
            InvalidValue: the file is damaged.
        """
        groups, before = self._groups_from(offset)
        self._done = before
        if not groups:
            return
        try:
            for batch in self._file.iter_batches(BATCH, row_groups=groups):
                for content in _contents(self._arrow, batch):
                    self._done += 1
                    if self._done > offset:
                        yield _row(self._done, content)
        except (OSError, self._arrow.ArrowInvalid) as exc:
            raise InvalidValue(f"{self._path} cannot be read on after row {self._done}: {exc}") from exc

    def _groups_from(self, offset: int) -> tuple[list[int], int]:
        """Return the row groups that hold rows behind ``offset``, and the number of rows before them."""
        before = 0
        for group in range(self._file.metadata.num_row_groups):
            count = self._file.metadata.row_group(group).num_rows
            if before + count > offset:
                return list(range(group, self._file.metadata.num_row_groups)), before
            before += count
        return [], before


def imported_pyarrow() -> tuple[Any, Any]:
    """Return the modules ``pyarrow`` and ``pyarrow.parquet``; ConfigError if they are not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as exc:
        raise ConfigError("Parquet needs an extra: pip install 'sona-pg[parquet]'") from exc
    return pyarrow, parquet


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False  # whoever opens it says why


def _contents(arrow: Any, batch: Any) -> Iterator[dict[str, Any]]:
    columns = {name: _column(arrow, batch.column(place)) for place, name in enumerate(batch.schema.names)}
    for row in range(batch.num_rows):
        yield {name: column[row] for name, column in columns.items() if column[row] is not None}


def _column(arrow: Any, column: Any) -> Any:
    """Return the values of a column; vectors stay arrays, which is ten times as fast as lists."""
    kind = column.type
    is_list = arrow.types.is_list(kind) or arrow.types.is_fixed_size_list(kind)
    if is_list and arrow.types.is_floating(kind.value_type) and column.null_count == 0:
        flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        return np.split(flat, np.cumsum(lengths)[:-1])
    return column.to_pylist()


def _row(number: int, content: dict[str, Any]) -> Row:
    raw = b""
    for name, value in content.items():
        if isinstance(value, datetime):
            content[name] = (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).isoformat()
        elif name in JSON_CELLS and isinstance(value, str) and value[:1] in ("[", "{"):
            try:
                content[name] = read_json(value)
            except (ValueError, RecursionError) as exc:
                return Row(number, None, value.encode("utf-8", "replace"), f"{name} is no JSON: {exc}")
        elif isinstance(value, np.ndarray):
            raw += value.tobytes()
    named = {name: value for name, value in content.items() if not isinstance(value, np.ndarray)}
    return Row(number, content, json.dumps(named, default=str).encode() + raw)
