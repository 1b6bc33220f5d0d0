"""Reads of pages: in threads of their own, so that no call of an application waits for what people look at."""

from __future__ import annotations

import asyncio
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


class PageReads:
    """Threads for the reads of pages; whoever awaits what is being found occupies none."""

    def __init__(self) -> None:
        """Prepare; threads start as they are needed."""
        self._threads = ThreadPoolExecutor(THREADS, "sona-pg pages")

    async def run(self, read: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what ``read`` returns; it is called again after each find that it needs.

        Raises:
            ProblemError: 503: a find takes long, and goes on.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        with awaiting_finds():
            while True:
                try:
                    run = partial(copy_context().run, read, *args, **kwargs)
                    return await loop.run_in_executor(self._threads, run)
                except BeingFound as exc:
                    found = asyncio.wrap_future(exc.future)
                found.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # ``read`` raises it
                await asyncio.wait({found}, timeout=max(0.0, until - loop.time()))
                if not found.done():
                    raise ProblemError(503, NOT_YET.format(PATIENCE), headers={"Retry-After": "30"})

    def close(self) -> None:
        """Begin no more reads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
