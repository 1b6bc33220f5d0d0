"""Reads of pages: in threads of their own, so that no call of an application waits for what people look at."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from sona_pg.engine.shared_finds import NOT_YET, PATIENCE, BeingFound, awaiting_finds
from sona_pg.service.problems import ProblemError

P = ParamSpec("P")
R = TypeVar("R")

THREADS = 4  # for all spaces together
LOOK_EVERY = 0.25  # seconds: whether the service is told to end
ENDING = "this service is ending: send the request again"


class PageReads:
    """Threads for the reads of pages; whoever awaits what is being found occupies none."""

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        """Prepare; threads start as they are needed. Nobody waits once the service ``is_stopping``."""
        self._is_stopping = is_stopping
        self._threads = ThreadPoolExecutor(THREADS, "sona-pg pages")

    async def run(self, read: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what ``read`` returns; it is called again after each find that it needs.

        Raises:
            ProblemError: 503: a find takes long, and goes on; or the service is told to end.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        with awaiting_finds():
            while True:
                try:
                    run = partial(copy_context().run, read, *args, **kwargs)
                    done = await self._awaited(loop.run_in_executor(self._threads, run))
                    return done.result()
                except BeingFound as exc:
                    found = asyncio.wrap_future(exc.future)
                if not (await self._awaited(found, until)).done():  # an error of it is raised by ``read``
                    raise ProblemError(503, NOT_YET.format(PATIENCE), headers={"Retry-After": "30"})

    async def _awaited(self, future: asyncio.Future[R], until: float = math.inf) -> asyncio.Future[R]:
        """Return ``future`` once it is done, or at ``until`` by the loop's clock."""
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # it may be left alone
        while not future.done() and loop.time() < until:
            await asyncio.wait({future}, timeout=min(LOOK_EVERY, until - loop.time()))
            if self._is_stopping() and not future.done():
                raise ProblemError(503, ENDING)
        return future

    def close(self) -> None:
        """Begin no more reads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
