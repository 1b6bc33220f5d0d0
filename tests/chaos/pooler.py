"""PgBouncer in transaction mode, on a port of the loopback interface; killed and started like the server itself."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from sqlalchemy import make_url

from sona_pg.store.admin.pgbinaries import Account

from .server import START_TIMEOUT, free_port

CONFIG = """
[databases]
{database} = host=127.0.0.1 port={server} user={user} dbname={database}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 12
max_client_conn = 300
server_login_retry = 1
query_wait_timeout = 10
# Sessions that began in a read-only spell stay read-only: a pooler in use is told to end them, or does so by itself.
server_lifetime = 10
ignore_startup_parameters = extra_float_digits
logfile = {log}
"""


def find_program() -> str | None:
    """Return the path of PgBouncer; Debian's folder may not be on a user's PATH."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


class Pooler:
    """A pooler in front of the database at ``url``."""

    def __init__(self, folder: Path, program: str, url: str) -> None:
        """Write its settings; `start` begins."""
        behind = make_url(url)
        home = folder / "pooler"
        home.mkdir()
        self._account = Account.choose(folder / "data")  # PgBouncer refuses to run as root
        self._account.own(home)
        self._settings = home / "pgbouncer.ini"
        self._port = port = free_port()
        self.url = behind.set(port=port).render_as_string(hide_password=False)
        self._settings.write_text(
            CONFIG.format(
                database=behind.database, user=behind.username, server=behind.port, port=port, log=home / "log"
            )
        )
        self._settings.chmod(0o644)
        self._command = [program, "-q", str(self._settings)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it listens; the server behind it may be away."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    self._command,
                    cwd="/",
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    **self._account.popen_options(),
                )
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=2).close()
            except OSError as exc:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{self._command[0]} does not start: see {self._settings}") from exc
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """End it with every session it has."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
