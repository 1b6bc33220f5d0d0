"""Comparison of imported rows with the records under their ids, and correction of their ratings if wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sona_pg.domain.space import Space
from sona_pg.engine import SonaEngine
from sona_pg.store.database import Database
from sona_pg.transfer.log_row import LogRow
from sona_pg.transfer.row_changes import RowChange, ToldRow, changes_of

AT_ONCE = 4096  # rows that are read together
NAMED = 5  # changed rows that the summary names


class ImportComparison:
    """Rows of an import since the last commit, to be compared with the records where not all of them were new."""

    def __init__(
        self, engine: SonaEngine, database: Database, space: Space, *, correct: bool, listed_in: Path | None
    ) -> None:
        """Compare with the trajectories of ``space``; changed rows are appended to the file ``listed_in``."""
        self._engine, self._database, self._space = engine, database, space
        self._correct, self._listed_in = correct, listed_in
        self._told: list[ToldRow] = []
        self.changed = 0  # rows that differ from their record, which stays
        self.corrected = 0  # rows of which facts were recorded
        self.first: list[dict[str, Any]] = []  # the first changed or corrected rows, as they are listed

    def add(self, id: Any, line: int, row: LogRow) -> None:
        """Note a row that was given to the recorder as trajectory ``id``."""
        self._told.append(
            ToldRow(id, line, row.imported_id or str(row.id), row.quality, row.route, row.query, row.facts)
        )

    def compare(self, repeated: int) -> bool:
        """Compare the rows noted, if ``repeated`` is above 0; all are committed. Return whether facts were recorded."""
        told, self._told = self._told, []
        if not repeated:
            return False
        if self._correct:
            told = list({row.id: row for row in told}.values())
        before, lines = self.corrected, []
        for start in range(0, len(told), AT_ONCE):
            part = told[start : start + AT_ONCE]
            found = self._database.exports.recorded(self._space, [row.id for row in part])
            for row in part:
                known = found.get(row.id)
                if known is not None and (changes := changes_of(row, known)):
                    lines.append(self._settle(row, changes))
        if lines and self._listed_in is not None:
            with self._listed_in.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
        self.first += lines[: NAMED - len(self.first)]
        return self.corrected > before

    def _settle(self, row: ToldRow, changes: list[RowChange]) -> dict[str, Any]:
        """Count a changed row, and record the facts that correct it if wanted; return the row as it is listed."""
        facts = [change.fact for change in changes if change.fact is not None] if self._correct else []
        for fact in facts:
            self._engine.record_feedback(
                row.id, quality=fact.quality, correction=fact.correction, source=fact.source, sequence=fact.sequence,
                retract=fact.retract, cost=fact.cost,
            )  # fmt: skip
        self.corrected += bool(facts)
        self.changed += len(facts) < len(changes)
        return {
            "line": row.line,
            "id": row.name,
            "trajectory": str(row.id),
            "changes": {change.field: {"recorded": change.recorded, "file": change.told} for change in changes},
            "corrected": [change.field for change in changes if self._correct and change.fact is not None],
        }
