"""Numbers of facts that find no trajectory, by space, for Prometheus: a scrape must not count them each time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from sona_pg.engine import Store
from sona_pg.errors import SonaError

log = logging.getLogger("sona_pg.service")

COUNTED_FOR = 600.0  # seconds: all feedback of seven days is read, about a second for a million facts


class StrayedFigures:
    """The numbers as last counted. Safe from many threads."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._counting = threading.Lock()
        self._at = -COUNTED_FOR
        self._known: Mapping[int, int] | None = None

    def of(self, store: Store) -> Mapping[int, int] | None:
        """Return the number by space, of those that have any; None while it is not known."""
        if time.monotonic() - self._at >= COUNTED_FOR and self._counting.acquire(blocking=False):
            try:
                self._at = time.monotonic()
                self._known = {one.space_id: one.facts for one in store.strayed_feedback()}
            except SonaError as exc:  # too much to count in time, or a role without grants
                self._known = None
                log.warning("sona_strayed_feedback is left out: %s", exc)
            finally:
                self._counting.release()
        return self._known
