"""Ingest: from the ring or the spool into Postgres, each record once and only once."""

from sona_pg.ingest.writer import IngestStats, Writer

__all__ = ["IngestStats", "Writer"]
