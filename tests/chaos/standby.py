"""A primary and its synchronous standby: the primary is killed, the standby promoted, and a new standby made."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import make_url

from .server import ADMINISTRATOR, START_TIMEOUT, CrashingServer, free_port

SYNCHRONOUS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"


class Standby(CrashingServer):
    """A copy of a running server that follows it."""

    def __init__(self, folder: Path, primary: CrashingServer, port: int | None = None) -> None:
        """Copy the primary's files by ``pg_basebackup``; `start` begins to follow."""
        folder.mkdir(mode=0o755)
        self._data = folder / "data"
        self._installation = primary._installation
        url = make_url(primary.url)
        self._installation.account.own(folder)
        self._installation.run(
            "pg_basebackup", "-D", str(self._data), "-h", str(url.host), "-p", str(url.port), "-U", ADMINISTRATOR,
            "--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", cwd=folder,
        )  # fmt: skip
        self._port = port or free_port()
        self.url = url.set(port=self._port).render_as_string()
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Do nothing: it has what its primary has."""

    def promote(self) -> None:
        """Make it a primary, which waits for no standby of its own."""
        with self.administrator() as connection:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")
            assert connection.execute("SELECT pg_promote(wait => true)").fetchone() == (True,)


class Pair:
    """Two servers; a commit is acknowledged once both have it, and each takes over from the other."""

    def __init__(self, folder: Path) -> None:
        """Make the first one's files; entering starts it with its standby."""
        self._folder = folder
        self._ports = [free_port(), free_port()]
        self._made = 0
        self.primary = CrashingServer(folder, port=self._ports[0])
        self._standby: Standby | None = None
        self._dead: CrashingServer | None = None
        primary = make_url(self.primary.url)
        places = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        # As libpq writes it; sona-pg and psycopg read it.
        self.url = f"postgresql://{primary.username}@{places}/{primary.database}?target_session_attrs=read-write"

    def crash(self) -> None:
        """Kill the primary with everything that it was doing."""
        self._dead = self.primary
        self._dead.crash()

    def fail_over(self) -> None:
        """Promote the standby; then make another from it, in the place of the dead primary."""
        standby, dead = self._standby, self._dead
        if standby is not None and dead is not None:
            standby.promote()
            self.primary, self._standby = standby, None
            shutil.rmtree(dead.data)
        if self._standby is None:
            self._follow()
        self._dead = None

    def _follow(self) -> None:
        """Make a standby of the primary, and have commits wait for it from now on."""
        self._made += 1
        port = next(port for port in self._ports if port != self.primary.port)
        standby = Standby(self._folder / f"standby-{self._made}", self.primary, port)
        standby.start()
        with self.primary.administrator() as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
            wait_for(lambda: connection.execute(SYNCHRONOUS).fetchone() == (1,), "the standby does not follow")
        self._standby = standby

    def __enter__(self) -> Self:
        self.primary.__enter__()
        self._follow()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in (self._standby, self.primary):
            if server is not None:
                server.__exit__(kind, exc, trace)


def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Return once ``condition`` holds."""
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)
