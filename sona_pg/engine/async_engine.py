"""AsyncSonaEngine: the engine for asyncio. Calls served from memory are plain functions, all others are awaited."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from sona_pg.config import SonaConfig
from sona_pg.engine.sona_engine import SonaEngine
from sona_pg.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")

THREADS = 4  # threads of an engine; a call that waits for the database occupies one


class _PlainCall(Generic[P, R]):
    """Plain call, served from memory: the engine's own bound method."""

    def __init__(self, call: Callable[Concatenate[SonaEngine, P], R]) -> None:
        self.__doc__ = call.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, engine: None, owner: type) -> Self: ...
    @overload
    def __get__(self, engine: AsyncSonaEngine, owner: type) -> Callable[P, R]: ...
    def __get__(self, engine: AsyncSonaEngine | None, owner: type) -> Self | Callable[P, R]:
        if engine is None:
            return self
        bound: Callable[P, R] = getattr(engine.engine, self._name)
        vars(engine)[self._name] = bound  # cached on the instance: later calls are as fast as the engine's
        return bound


class _AwaitedCall(Generic[P, R]):
    """Awaited call, which may wait for the database, a learner or a model: it runs in a thread."""

    def __init__(self, call: Callable[Concatenate[SonaEngine, P], R]) -> None:
        self.__doc__ = call.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, engine: None, owner: type) -> Self: ...
    @overload
    def __get__(self, engine: AsyncSonaEngine, owner: type) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __get__(self, engine: AsyncSonaEngine | None, owner: type) -> Self | Callable[P, Coroutine[Any, Any, R]]:
        if engine is None:
            return self
        bound: Callable[P, R] = getattr(engine.engine, self._name)
        awaited: Callable[P, Coroutine[Any, Any, R]] = partial(engine.in_thread, bound)
        vars(engine)[self._name] = awaited
        return awaited


class _EngineProperty(Generic[R]):
    """A property of the engine."""

    def __init__(self, read: Callable[[SonaEngine], R]) -> None:
        self._read = read

    @overload
    def __get__(self, engine: None, owner: type) -> Self: ...
    @overload
    def __get__(self, engine: AsyncSonaEngine, owner: type) -> R: ...
    def __get__(self, engine: AsyncSonaEngine | None, owner: type) -> Self | R:
        return self if engine is None else self._read(engine.engine)


class AsyncSonaEngine:
    """One open space, for code on asyncio: every name of ``SonaEngine``, without blocking the event loop.

    Recording, ranking, routing, finding patterns and adapting are plain calls, as fast as on ``SonaEngine``. Calls that
    may wait for the database, for a learner or for an embedding model are awaited: they run in a few threads of this
    engine, where a cancelled call runs to its end. ::

        async with AsyncSonaEngine(256) as engine:
            t = engine.begin_trajectory(embedding)
            engine.end_trajectory(t, quality=0.9)
            await engine.flush()

    A call that names a trajectory which is open in another process asks the database: await it in a thread,
    ``await engine.in_thread(engine.end_trajectory, id, 0.9)``; otherwise it is refused.

    ``await AsyncSonaEngine.open(256)`` opens one outside of a block; ``AsyncSonaEngine.of(engine)`` wraps an open
    engine, such as a ``Store``'s, which it does not close.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of ``SonaEngine``; entering the block opens it.

        Raises:
            ConfigError: durability ``sync``, or ``when_full="wait"``: recording would block the event loop.
        """
        self._open: Callable[[], SonaEngine] = partial(SonaEngine, *args, **kwargs)
        config = kwargs.get("config")
        if config is not None:
            _require_no_waiting(config)
        self._engine: SonaEngine | None = None
        self._ours = True
        self._threads: tuple[int, ThreadPoolExecutor] | None = None

    @classmethod
    async def open(cls, *args: Any, **kwargs: Any) -> Self:
        """Open an engine with the arguments of ``SonaEngine``; ``await engine.close()`` ends it."""
        return await cls(*args, **kwargs).__aenter__()

    @classmethod
    def with_config(cls, config: SonaConfig, **kwargs: Any) -> Self:
        """Return an engine with all settings from ``config``; entering the block opens it."""
        return cls(config=config, **kwargs)

    @classmethod
    def of(cls, engine: SonaEngine) -> Self:
        """Wrap an open engine; the caller closes that."""
        _require_no_waiting(engine.config)
        made = cls()
        made._engine, made._ours = engine, False
        engine.on_event_loop = True
        return made

    @property
    def engine(self) -> SonaEngine:
        """The engine underneath, for threads."""
        if self._engine is None:
            raise ConfigError("the engine is not open yet: use `async with`, or `await AsyncSonaEngine.open(...)`")
        return self._engine

    async def in_thread(self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``call`` in one of this engine's threads; a forked child has its own."""
        if self._threads is None or self._threads[0] != os.getpid():
            self._threads = os.getpid(), ThreadPoolExecutor(THREADS, "sona-pg async")
        run = partial(copy_context().run, call, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads[1], run)

    async def close(self) -> None:
        """Write the accepted records and release the database, unless this wraps a caller's engine."""
        try:
            if self._ours and self._engine is not None:
                await self.in_thread(self._engine.close)
        finally:
            if self._threads is not None and self._threads[0] == os.getpid():
                self._threads[1].shutdown(wait=False)
                self._threads = None

    async def __aenter__(self) -> Self:
        if self._engine is None:
            self._engine = await self.in_thread(self._open)
            self._engine.on_event_loop = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __await__(self) -> Generator[Any, None, Self]:
        return self.__aenter__().__await__()

    # -- served from memory --------------------------------------------------------------------------------
    begin_trajectory = _PlainCall(SonaEngine.begin_trajectory)
    add_step = _PlainCall(SonaEngine.add_step)
    add_trajectory_step = _PlainCall(SonaEngine.add_trajectory_step)
    set_trajectory_route = _PlainCall(SonaEngine.set_trajectory_route)
    add_trajectory_context = _PlainCall(SonaEngine.add_trajectory_context)
    set_trajectory_parameters = _PlainCall(SonaEngine.set_trajectory_parameters)
    end_trajectory = _PlainCall(SonaEngine.end_trajectory)
    record_feedback = _PlainCall(SonaEngine.record_feedback)
    feedback = _PlainCall(SonaEngine.feedback)
    apply_micro_lora = _PlainCall(SonaEngine.apply_micro_lora)
    apply_base_lora = _PlainCall(SonaEngine.apply_base_lora)
    find_patterns = _PlainCall(SonaEngine.find_patterns)
    interpolate_parameters = _PlainCall(SonaEngine.interpolate_parameters)
    rank = _PlainCall(SonaEngine.rank)
    rank_many = _PlainCall(SonaEngine.rank_many)
    route = _PlainCall(SonaEngine.route)
    set_enabled = _PlainCall(SonaEngine.set_enabled)
    is_enabled = _PlainCall(SonaEngine.is_enabled)

    dim = _EngineProperty(lambda engine: engine.dim)
    capacity = _EngineProperty(lambda engine: engine.capacity)
    config = _EngineProperty(lambda engine: engine.config)
    asked_config = _EngineProperty(lambda engine: engine.asked_config)
    url = _EngineProperty(lambda engine: engine.url)
    version = _EngineProperty(lambda engine: engine.version)
    server_id = _EngineProperty(lambda engine: engine.server_id)
    space_id = _EngineProperty(lambda engine: engine.space_id)
    made_at = _EngineProperty(lambda engine: engine.made_at)
    is_closed = _EngineProperty(lambda engine: engine.is_closed)
    is_cut_off = _EngineProperty(lambda engine: engine.is_cut_off)
    recorded_count = _EngineProperty(lambda engine: engine.recorded_count)
    dropped_count = _EngineProperty(lambda engine: engine.dropped_count)
    abandoned_count = _EngineProperty(lambda engine: engine.abandoned_count)
    overridden_count = _EngineProperty(lambda engine: engine.overridden_count)
    waiting = _EngineProperty(lambda engine: engine.waiting)

    # -- awaited --------------------------------------------------------------------------------------------
    flush = _AwaitedCall(SonaEngine.flush)
    add_shared_step = _AwaitedCall(SonaEngine.add_shared_step)
    share_trajectory = _AwaitedCall(SonaEngine.share_trajectory)
    recall = _AwaitedCall(SonaEngine.recall)  # the first one reads the order of groups
    remember = _AwaitedCall(SonaEngine.remember)
    retire_candidates = _AwaitedCall(SonaEngine.retire_candidates)
    restore_candidates = _AwaitedCall(SonaEngine.restore_candidates)
    known_candidates = _AwaitedCall(SonaEngine.known_candidates)
    retired_candidates = _AwaitedCall(SonaEngine.retired_candidates)
    keep_contents = _AwaitedCall(SonaEngine.keep_contents)
    contents = _AwaitedCall(SonaEngine.contents)
    find_contents = _AwaitedCall(SonaEngine.find_contents)
    content_ids = _AwaitedCall(SonaEngine.content_ids)
    drop_contents = _AwaitedCall(SonaEngine.drop_contents)
    search = _AwaitedCall(SonaEngine.search)
    embed = _AwaitedCall(SonaEngine.embed)
    process = _AwaitedCall(SonaEngine.process)
    force_learn = _AwaitedCall(SonaEngine.force_learn)
    background_learn = _AwaitedCall(SonaEngine.background_learn)
    deep_learn = _AwaitedCall(SonaEngine.deep_learn)
    tick = _AwaitedCall(SonaEngine.tick)
    refresh = _AwaitedCall(SonaEngine.refresh)
    rebuild = _AwaitedCall(SonaEngine.rebuild)
    forget = _AwaitedCall(SonaEngine.forget)
    forget_plan = _AwaitedCall(SonaEngine.forget_plan)
    finish_erasures = _AwaitedCall(SonaEngine.finish_erasures)
    erasures = _AwaitedCall(SonaEngine.erasures)
    why = _AwaitedCall(SonaEngine.why)
    verify_receipt = _AwaitedCall(SonaEngine.verify_receipt)
    set_budget = _AwaitedCall(SonaEngine.set_budget)
    budget = _AwaitedCall(SonaEngine.budget)
    name_topic = _AwaitedCall(SonaEngine.name_topic)
    topics = _AwaitedCall(SonaEngine.topics)
    set_settings = _AwaitedCall(SonaEngine.set_settings)
    evaluate_policies = _AwaitedCall(SonaEngine.evaluate_policies)
    versions = _AwaitedCall(SonaEngine.versions)
    diff = _AwaitedCall(SonaEngine.diff)
    patterns_at = _AwaitedCall(SonaEngine.patterns_at)
    stage = _AwaitedCall(SonaEngine.stage)
    gates = _AwaitedCall(SonaEngine.gates)
    judge = _AwaitedCall(SonaEngine.judge)
    promote = _AwaitedCall(SonaEngine.promote)
    rollback = _AwaitedCall(SonaEngine.rollback)
    save = _AwaitedCall(SonaEngine.save)
    load = _AwaitedCall(SonaEngine.load)
    get_stats = _AwaitedCall(SonaEngine.get_stats)
    metrics = _AwaitedCall(SonaEngine.metrics)


def _require_no_waiting(config: SonaConfig) -> None:
    ingest = config.ingest
    if ingest.durability == "sync":
        raise ConfigError(
            "durability='sync' waits for each commit, which would hold up the event loop: choose 'spool', or await "
            "engine.flush() where an answer must not be given before the commit"
        )
    if ingest.when_full == "wait":
        raise ConfigError("when_full='wait' would hold up the event loop: choose 'refuse', and read dropped_count")
