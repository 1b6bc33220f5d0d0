"""Exported rows as CSV that an import reads again: lists and objects are JSON, a missing value is an empty cell.

A text that a spreadsheet would run as a formula, such as ``=HYPERLINK(...)`` typed by a customer, has an apostrophe
before it (OWASP, CSV injection). So has one with apostrophes before such a sign, for an import takes one away.
"""

from __future__ import annotations

import csv
import json
from typing import Any, TextIO

from sona_pg.transfer.json_codec import read_json
from sona_pg.transfer.parquet_output import COLUMNS
from sona_pg.transfer.row_source import FORMULA


class CsvOutput:
    """Writes lines of an export as the rows of a CSV file, below a header."""

    def __init__(self, file: TextIO, kind: str, delimiter: str = ",", decimal: str = ".") -> None:
        """Write the header for rows of a kind; ``file`` was opened with ``newline=""``."""
        self._names = tuple(COLUMNS[kind])
        self._decimal = decimal
        self._writer = csv.writer(file, delimiter=delimiter)
        self._writer.writerow(self._names)

    def write(self, line: str) -> None:
        """Add the row of one line of JSON."""
        row = read_json(line)
        self._writer.writerow([self._cell(row.get(name)) for name in self._names])

    def _cell(self, value: Any) -> Any:
        if isinstance(value, list | dict):
            return json.dumps(value)
        if isinstance(value, float):
            return repr(value).replace(".", self._decimal)
        return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value
