"""The engine: the only composer of store, ingest, loops and learning."""

from sona_pg.engine.async_engine import AsyncSonaEngine
from sona_pg.engine.engine_builder import SonaEngineBuilder
from sona_pg.engine.sona_engine import SonaEngine
from sona_pg.engine.store_runtime import Store

__all__ = ["AsyncSonaEngine", "SonaEngine", "SonaEngineBuilder", "Store"]
