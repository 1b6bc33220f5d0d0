"""Spaces that this service has open."""

from __future__ import annotations

import asyncio

from starlette.concurrency import run_in_threadpool

from sona_pg.engine import AsyncSonaEngine, Store
from sona_pg.errors import DatabaseUnavailable, SpaceExists, UnknownSpace
from sona_pg.service.service_options import ServiceOptions
from sona_pg.text.embedder import Embedder


class HostedSpaces:
    """Opens the spaces of a store when they are first asked for."""

    def __init__(self, store: Store, options: ServiceOptions, embedder: Embedder | None) -> None:
        self._store = store
        self._options = options
        self._embedder = embedder
        self._opening = asyncio.Lock()
        self.opened: dict[str, AsyncSonaEngine] = {}

    async def open_default(self) -> None:
        """Open the space of requests that name none; without the database it is opened all the same."""
        options = self._options
        dim = options.dim
        try:
            dims = await run_in_threadpool(lambda: {space.name: space.dim for space in self._store.spaces()})
            dim = dims.get(options.space, dim)
        except DatabaseUnavailable:
            pass  # the engine opens without it, and says so
        await self._open(options.space, dim, options.create)

    async def find(self, name: str) -> AsyncSonaEngine:
        """Return the engine of a space; ``UnknownSpace`` if there is none of that name."""
        engine = self.opened.get(name)
        if engine is None:
            async with self._opening:
                engine = self.opened.get(name) or await self._open_existing(name)
        return engine

    async def make(self, name: str, dim: int) -> AsyncSonaEngine:
        """Make a space, unless there is one of that name and dimension."""
        async with self._opening:
            there = self.opened.get(name)
            if there is not None and there.dim != dim:
                raise SpaceExists(f"space {name!r} is there and has {there.dim} dimensions, not {dim}")
            return there or await self._open(name, dim, True)

    async def _open_existing(self, name: str) -> AsyncSonaEngine:
        for space in await run_in_threadpool(self._store.spaces):
            if space.name == name:
                return await self._open(name, space.dim, False)
        raise UnknownSpace(f"there is no space {name!r}")

    async def _open(self, name: str, dim: int, create: bool) -> AsyncSonaEngine:
        embedder = self._embedder if self._embedder is not None and self._embedder.dim == dim else None

        def opened() -> AsyncSonaEngine:
            engine = self._store.space(name, dim, config=self._options.config, embedder=embedder, create=create)
            return AsyncSonaEngine.of(engine)

        engine = await run_in_threadpool(opened)
        self.opened[name] = engine
        return engine

    async def close(self) -> None:
        """Let go of the engines; the store closes them."""
        for engine in self.opened.values():
            await engine.close()
        self.opened.clear()
