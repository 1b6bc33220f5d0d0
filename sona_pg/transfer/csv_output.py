"""Exported rows as CSV that an import reads again: lists and objects are JSON, a missing value is an empty cell."""

from __future__ import annotations

import csv
import json
from typing import Any, TextIO

from sona_pg.transfer.json_codec import read_json
from sona_pg.transfer.parquet_output import COLUMNS


class CsvOutput:
    """Writes lines of an export as the rows of a CSV file, below a header."""

    def __init__(self, file: TextIO, kind: str) -> None:
        """Write the header for rows of a kind; ``file`` was opened with ``newline=""``."""
        self._names = tuple(COLUMNS[kind])
        self._writer = csv.writer(file)
        self._writer.writerow(self._names)

    def write(self, line: str) -> None:
        """Add the row of one line of JSON."""
        row = read_json(line)
        self._writer.writerow([_cell(row.get(name)) for name in self._names])


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value
