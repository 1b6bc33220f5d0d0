"""Rows that Postgres refused for their content: kept in a file with the reason, so that nothing vanishes."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sona_pg.errors import StorageError
from sona_pg.ingest.commit import Rejected


def save(folder: Path, batch: int, rejected: Sequence[Rejected], now: datetime) -> Path:
    """Write the rejected rows of a batch as lines of JSON; a replay of the batch writes the same file again.

    Raises:
        StorageError: the file cannot be written.
    """
    path = folder / f"{batch}.jsonl"
    lines = [
        json.dumps(
            {
                "rejected_at": now.isoformat(),
                "kind": row.kind,
                "trajectory_id": str(row.trajectory_id),
                "reason": row.reason,
                "rows": {table: base64.b64encode(data).decode() for table, data in row.rows.items()},
            }
        )
        for row in rejected
    ]
    temporary = path.with_suffix(".tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text("\n".join(lines) + "\n")
        os.replace(temporary, path)
    except OSError as exc:
        raise StorageError(f"rejected rows cannot be kept in {path} ({exc.strerror}): make room there") from exc
    return path
