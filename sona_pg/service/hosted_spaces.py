"""Spaces that this service has open."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from starlette.concurrency import run_in_threadpool

from sona_pg.engine import AsyncSonaEngine, Store
from sona_pg.engine.database_clock import database_time
from sona_pg.errors import DatabaseUnavailable, EmbedderChanged, SonaError, SpaceExists, UnknownSpace
from sona_pg.service.service_options import ServiceOptions
from sona_pg.text.embedder import Embedder

log = logging.getLogger("sona_pg.service")

NAMED_FOR = 0.25  # seconds until a name is looked up again: another process may have renamed or removed its space
MOST_WAIT = 0.5  # seconds that a request waits for the look-up; it goes on with the engine of before then


class HostedSpaces:
    """Opens the spaces of a store when they are first asked for.

    A name means the space that the database knows by it now; a caller whose key is bound to a space is given the
    engine of that space's number, whatever its name is.
    """

    def __init__(self, store: Store, options: ServiceOptions, embedder: Embedder | None) -> None:
        self._store = store
        self._options = options
        self._embedder = embedder
        self._opening = asyncio.Lock()
        self._seen: dict[AsyncSonaEngine, float] = {}  # when the name of its space was last looked up
        self._looking: dict[AsyncSonaEngine, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._numbered: dict[int, AsyncSonaEngine] = {}
        self.opened: dict[str, AsyncSonaEngine] = {}

    async def open_default(self) -> None:
        """Open the space of requests that name none; without the database it is opened all the same."""
        options = self._options
        dim = options.dim
        with suppress(DatabaseUnavailable):  # the engine opens without it, and says so
            known: int | None = await run_in_threadpool(self._store.dim_of, options.space)
            dim = known or dim
        await self._open(options.space, dim, options.create)

    async def find(self, name: str, space_id: int | None = None) -> AsyncSonaEngine:
        """Return the engine of the space called ``name``, or of the one with number ``space_id``.

        Raises:
            UnknownSpace: there is no such space.
        """
        engine = await self._held(name, space_id)
        if engine is None:
            async with self._opening:
                engine = await self._held(name, space_id) or await self._open_existing(name, space_id)
        return engine

    async def make(self, name: str, dim: int) -> AsyncSonaEngine:
        """Make a space, unless there is one of that name and dimension."""
        async with self._opening:
            there = await self._held(name, None)
            if there is not None and there.dim != dim:
                raise SpaceExists(f"space {name!r} is there and has {there.dim} dimensions, not {dim}")
            return there or await self._open(name, dim, True)

    async def name_of(self, space_id: int) -> str | None:
        """Return the name of a space now; None if it was removed."""
        return (await run_in_threadpool(self._store.space_names, "", space_id)).get(space_id)

    @property
    def now(self) -> float:
        """Seconds since 1970 by the database's clock, as last measured; by this machine's until then."""
        engine = next(iter(self.opened.values()), None)
        return time.time() if engine is None else database_time(engine.engine)

    async def _held(self, name: str, space_id: int | None) -> AsyncSonaEngine | None:
        """Return the open engine of a space, once it is certain that it still is that one's."""
        engine = self._known(name, space_id)
        if engine is None or time.monotonic() - self._seen.get(engine, 0.0) < NAMED_FOR:
            return engine
        if engine.space_id is None or engine.is_cut_off:  # it goes on without the database
            return engine
        task = self._looking.get(engine)
        if task is None:
            task = self._looking[engine] = asyncio.create_task(self._look(engine))
        await asyncio.wait({task}, timeout=MOST_WAIT)
        return self._known(name, space_id)

    def _known(self, name: str, space_id: int | None) -> AsyncSonaEngine | None:
        if space_id is None:
            engine = self.opened.get(name)
        else:
            engine = self._numbered.get(space_id)
            if engine is None:  # one that was opened before the database had answered
                engine = next((one for one in self.opened.values() if one.space_id == space_id), None)
                if engine is not None:
                    self._numbered[space_id] = engine
        if engine is not None and engine.is_closed:
            self._forget(engine)
            return None
        return engine

    async def _look(self, engine: AsyncSonaEngine) -> None:
        """Find out how the space of an engine is called now, and let go of one whose space was removed."""
        try:
            number = engine.space_id
            assert number is not None
            name = await self.name_of(number)
            if engine.is_closed or self.opened.get(name or "") is not engine:
                self._forget(engine)
            if engine.is_closed:
                return
            if name is not None:
                self._hold(name, engine)
                return
            ending = asyncio.create_task(self._end(engine))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        except DatabaseUnavailable:
            self._seen[engine] = time.monotonic()  # the name of before counts
        finally:
            del self._looking[engine]

    def _hold(self, name: str, engine: AsyncSonaEngine) -> None:
        self.opened[name] = engine
        if engine.space_id is not None:
            self._numbered[engine.space_id] = engine
        self._seen[engine] = time.monotonic()

    def _forget(self, engine: AsyncSonaEngine) -> None:
        self.opened = {name: one for name, one in self.opened.items() if one is not engine}
        self._numbered = {number: one for number, one in self._numbered.items() if one is not engine}
        self._seen.pop(engine, None)

    async def _end(self, engine: AsyncSonaEngine) -> None:
        """Close the engine of a space that was removed."""
        try:
            await run_in_threadpool(engine.engine.close)
        except SonaError as exc:
            log.warning("%s", exc)
        await engine.close()

    async def _open_existing(self, name: str, space_id: int | None) -> AsyncSonaEngine:
        if space_id is not None:
            name = await self.name_of(space_id) or ""
        for space in await run_in_threadpool(self._store.spaces):
            if space.name == name:
                engine = await self._open(name, space.dim, False)
                if space_id is None or engine.space_id == space_id:
                    return engine
                if engine.space_id is None:
                    raise DatabaseUnavailable("the database has not told yet which space this is")
        if not name:
            raise UnknownSpace("the space of this key was removed")
        raise UnknownSpace(f"there is no space {name!r}: sona-pg space create, or POST /v1/spaces, makes it")

    async def _open(self, name: str, dim: int, create: bool) -> AsyncSonaEngine:
        embedder = self._embedder if self._embedder is not None and self._embedder.dim == dim else None

        def opened() -> AsyncSonaEngine:
            try:
                engine = self._store.space(name, dim, config=self._options.config, embedder=embedder, create=create)
            except EmbedderChanged as exc:  # questions without a text are answered all the same
                log.warning("%s", exc)
                engine = self._store.space(name, dim, config=self._options.config, create=create)
            known = next((one for one in self._seen if one.engine is engine), None)  # under another name before
            return known or AsyncSonaEngine.of(engine)

        engine = await run_in_threadpool(opened)
        self._hold(name, engine)
        return engine

    async def close(self) -> None:
        """Let go of the engines; the store closes them."""
        await asyncio.gather(*self._looking.values(), *self._ending)
        for engine in list(self._seen):
            await engine.close()
        self.opened.clear()
