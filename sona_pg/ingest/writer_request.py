"""Request for a writer: the space, the server, and where its records come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from sona_pg.config import IngestConfig
from sona_pg.ingest.candidate_rows import Extra
from sona_pg.ingest.spool import SpoolSource
from sona_pg.recorder import EncodedBatch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WriterRequest:
    """Everything a writer of one space needs to know."""

    space_id: int
    server_id: UUID  # this server's row in ``sona.servers``
    space_name: str = ""  # for errors; the number of the space if none is given
    made_at: datetime | None = None  # when the space was made; None: the writer asks the database
    config: IngestConfig  # durability and pace
    home: Path  # the folder for spool and rejected rows
    on_batch: Callable[[EncodedBatch], None] | None = None  # called with each encoded batch, committed or not
    pending: Path | None = None  # folder below ``home`` of records made before the space could be known, if any
    # Records and candidates that wait since the engine was opened without its database.
    source: SpoolSource | None = None
    extras: Sequence[Extra] = ()
