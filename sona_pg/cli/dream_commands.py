"""Command about loop C: dream."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from sona_pg.cli.options import SpaceName, Url, engine_on
from sona_pg.cli.render import progress_bar, show_facts


def dream(
    space: SpaceName = "default",
    seconds: Annotated[
        float | None, typer.Option(help="At most this long; by default the space's dreams.budget.", min=0.001)
    ] = None,
    url: Url = None,
) -> None:
    """Run loop C now: dream over the memory graph, consolidate it, fold EWC's tasks; print the counts.

    Ctrl-C ends it early: what was done is published, and the next cycle goes on there.

    Example: sona-pg dream --space support --seconds 60
    """
    with (
        engine_on(space, url) as engine,
        progress_bar(f"dreaming in space {space!r}") as progress,
        _stopped_by_interrupt() as stop,
    ):
        result = engine.deep_learn(seconds, progress=progress, stop=stop)
    show_facts(result.as_dict(), f"deep cycle of space {space!r}")


@contextmanager
def _stopped_by_interrupt() -> Iterator[threading.Event]:
    """Yield an event that the first interrupt sets; the second one ends the process as usual."""
    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
