"""Alembic migrations of schema ``sona``, shipped as ``sona_pg.migrations``."""
