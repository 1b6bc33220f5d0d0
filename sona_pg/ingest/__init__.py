"""Ingest: from the ring or the spool into Postgres, each record exactly once."""

from sona_pg.ingest.progress import IngestStats
from sona_pg.ingest.writer import Writer
from sona_pg.ingest.writer_pool import WriterPool
from sona_pg.ingest.writer_request import WriterRequest

__all__ = ["IngestStats", "Writer", "WriterPool", "WriterRequest"]
