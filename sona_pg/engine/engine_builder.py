"""Building an engine step by step."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Self

from sona_pg.config import SonaConfig

if TYPE_CHECKING:
    from sona_pg.engine.sona_engine import SonaEngine
    from sona_pg.text.embedder import Embedder


class SonaEngineBuilder:
    """Collects the arguments of an engine; ``build`` opens it."""

    def __init__(self, make: type[SonaEngine]) -> None:
        """Start from the defaults."""
        self._make = make
        self._config = SonaConfig()
        self._dim: int | None = None
        self._url: str | None = None
        self._space = "default"
        self._embedder: Embedder | None = None
        self._create = True

    def hidden_dim(self, dim: int) -> Self:
        """Set the space's dimension, whatever the configuration says."""
        self._dim = dim
        return self

    def config(self, config: SonaConfig) -> Self:
        """Set all other settings."""
        self._config = config
        return self

    def url(self, url: str) -> Self:
        """Set the database."""
        self._url = url
        return self

    def space(self, name: str) -> Self:
        """Set the space's name."""
        self._space = name
        return self

    def embedder(self, embedder: Embedder) -> Self:
        """Set the embedder for texts."""
        self._embedder = embedder
        return self

    def create(self, allowed: bool) -> Self:
        """Set whether to create a missing space; by default it is created."""
        self._create = allowed
        return self

    def build(self) -> SonaEngine:
        """Open the engine."""
        config = self._config
        if self._dim is not None:
            config = dataclasses.replace(config, hidden_dim=self._dim)
        return self._make.with_config(
            config, url=self._url, space=self._space, embedder=self._embedder, create=self._create
        )
