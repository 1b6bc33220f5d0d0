"""The engine: the only composer of store, ingest, loops and learning."""

from sona_pg.engine.builder import SonaEngineBuilder
from sona_pg.engine.engine import SonaEngine

__all__ = ["SonaEngine", "SonaEngineBuilder"]
