"""The embedded server of a process that was given no database: joined, started again after a crash, let go."""

from __future__ import annotations

import logging
from pathlib import Path

from sona_pg.errors import SonaError
from sona_pg.store.admin.embedded import start_embedded

log = logging.getLogger(__name__)


class EmbeddedHold:
    """A hold on the embedded server of a home folder."""

    def __init__(self, home: Path) -> None:
        """Join the server, starting it where it does not run; see ``start_embedded`` for what may be raised."""
        self._home = home
        self._server = start_embedded(home)
        self._not_revived = ""  # why it could not be started again, as it was said last

    @property
    def url(self) -> str:
        """The server's address."""
        return self._server.url

    def revive(self) -> None:
        """Start the server again if it is gone; joining one that runs takes milliseconds."""
        try:
            self._server, gone = start_embedded(self._home), self._server
        except SonaError as exc:
            if str(exc) != self._not_revived:
                log.warning("the embedded Postgres cannot be started again: %s", exc)
            self._not_revived = str(exc)
        else:
            self._not_revived = ""
            gone.release()

    def release(self) -> None:
        """Let go of it; in a forked child, of what was inherited from the parent."""
        self._server.release()
