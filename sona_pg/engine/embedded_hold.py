"""Hold on the embedded server of a process without a database URL: join, restart after a crash, release."""

from __future__ import annotations

import logging
from pathlib import Path

from sona_pg.errors import SonaError
from sona_pg.store.admin.embedded import start_embedded

log = logging.getLogger(__name__)


class EmbeddedHold:
    """A hold on the embedded server of a home folder."""

    def __init__(self, home: Path) -> None:
        """Join the server, starting it if needed; raises as ``start_embedded`` does."""
        self._home = home
        self._server = start_embedded(home)
        self._not_revived = ""  # the last reported error of a restart

    @property
    def url(self) -> str:
        """The server's address."""
        return self._server.url

    def revive(self) -> None:
        """Restart the server if it has ended; joining a running one takes milliseconds."""
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
        """Release the server; in a forked child, the inherited hold."""
        self._server.release()
