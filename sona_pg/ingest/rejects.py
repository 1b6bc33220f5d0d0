"""Rows that Postgres refused for their content: kept in a file with the reason."""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sona_pg.ingest.commit import Rejected
from sona_pg.ingest.keeping import prune

log = logging.getLogger("sona_pg.ingest")

# Per space. Refused rows are few and mostly alike; a bug or an attack that makes many must not fill the disk that
# Postgres or the spool needs.
MOST_BYTES = 64 << 20
# In memory, while the folder cannot be written. Rows beyond this are only in the log, by id and reason.
MOST_UNSAVED_BYTES = 4 << 20
RETRY_EVERY = 30.0  # seconds between attempts to save rows held in memory
SAY = 10  # rows named in one line of the log
IDS = {"candidate": "candidate_id", "candidate_set": "set_id"}  # the name of the id in a file


class Rejects:
    """Keeps refused rows, by batch: in ``folder``, or in memory while that cannot be written. One thread calls it."""

    def __init__(self, folder: Path) -> None:
        """Keep rows in ``folder``, made when it is needed."""
        self.folder = folder
        self.lost = 0  # rows dropped: neither the file nor memory could take them
        self.pruned = 0  # files deleted, to stay within MOST_BYTES
        self._unsaved: OrderedDict[int, tuple[int, str]] = OrderedDict()  # rows and lines of JSON, by batch
        self._tried = -RETRY_EVERY  # monotonic seconds

    @property
    def unsaved(self) -> int:
        """Rows that are in memory, because the folder cannot be written."""
        return sum(rows for rows, _ in self._unsaved.values())

    def keep(self, batch: int, rejected: Sequence[Rejected], now: datetime) -> None:
        """Keep the refused rows of a batch; a replay of the batch writes the same file again.

        A failure to save is not raised: the valid rows of the batch must not wait for the disk.
        """
        lines = "".join(json.dumps(_described(row, now)) + "\n" for row in rejected)
        self._unsaved[batch] = (len(rejected), lines)
        problem = self._save()
        shown = "; ".join(f"{row.kind} {str(row.name)[:100]}: {row.reason}" for row in rejected[:SAY])
        more = f"; and {len(rejected) - SAY} more" if len(rejected) > SAY else ""
        where = f"are kept in {self.folder}" if problem is None else f"are kept in memory ({problem})"
        log.error("%d rows were refused and %s: %s%s", len(rejected), where, shown, more)
        self._bound()

    def retry(self) -> None:
        """Save the rows in memory, at most once per ``RETRY_EVERY``."""
        if self._unsaved and time.monotonic() - self._tried >= RETRY_EVERY and self._save() is None:
            log.warning("refused rows that were in memory are now kept in %s", self.folder)

    def close(self) -> None:
        """Save the rows in memory, or log the number lost."""
        if self._unsaved and (problem := self._save()) is not None:
            log.error("%d refused rows are lost: %s", self.unsaved, problem)
            self.lost += self.unsaved
            self._unsaved.clear()

    def _save(self) -> str | None:
        """Write the rows in memory to a file; return the error if that fails."""
        self._tried = time.monotonic()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for batch, (_, lines) in list(self._unsaved.items()):
                path = self.folder / f"{batch}.jsonl"
                temporary = path.with_suffix(".tmp")
                temporary.write_text(lines)
                os.replace(temporary, path)
                del self._unsaved[batch]
            self.pruned += prune(self.folder, MOST_BYTES)
        except OSError as exc:
            return f"{self.folder} cannot be written: {exc.strerror}; make room there"
        return None

    def _bound(self) -> None:
        """Drop the oldest rows in memory above the bound."""
        size = sum(len(lines) for _, lines in self._unsaved.values())
        while size > MOST_UNSAVED_BYTES:
            _, (rows, lines) = self._unsaved.popitem(last=False)
            size -= len(lines)
            self.lost += rows
            log.error("%d refused rows are lost: more than %d bytes wait in memory", rows, MOST_UNSAVED_BYTES)


def _described(row: Rejected, now: datetime) -> dict[str, object]:
    return {
        "rejected_at": now.isoformat(),
        "kind": row.kind,
        IDS.get(row.kind, "trajectory_id"): str(row.name),
        "reason": row.reason,
        "rows": {table: base64.b64encode(data).decode() for table, data in row.rows.items()},
    }
