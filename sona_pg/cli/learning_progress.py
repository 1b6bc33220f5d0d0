"""Progress of learning on a terminal: the unlearned trajectories, looked at while the learner works."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sona_pg.cli.render import progress_bar
from sona_pg.errors import DatabaseError

if TYPE_CHECKING:
    from sona_pg.domain.space import Space
    from sona_pg.store.database import Database

LOOK_EVERY = 1.0  # seconds


@contextmanager
def learning_progress(database: Database, space: Space) -> Iterator[None]:
    """Draw how much of what waits is learned, and the time left, while the block runs."""
    if not sys.stderr.isatty():
        yield
        return
    total = database.totals(space)["waiting"]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_EVERY):
            try:
                waiting = database.totals(space)["waiting"]
            except DatabaseError:
                return  # the learner says so
            progress(max(total - waiting, 0), max(total, 1))

    with progress_bar(f"learning {total:,} trajectories") as progress:
        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
