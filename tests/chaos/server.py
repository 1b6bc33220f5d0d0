"""A Postgres of our own that can be crashed: not stopped, but killed with all that it was doing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from sona_pg.store.admin.pgbinaries import Account, prepare_installation

START_TIMEOUT = 60.0  # seconds; recovery is part of it
ADMINISTRATOR, APPLICATION, DATABASE = "administrator", "application", "chaos"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "128MB",
    "max_wal_size": "256MB",
    "max_connections": 120,
    "superuser_reserved_connections": 5,
    "checkpoint_timeout": "30s",
    "log_min_messages": "panic",
}
# The session that injects settings must not be affected by them.
UNTOUCHED = "-c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0"


def free_port() -> int:
    """Return an unused port of the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_until_answers(url: str, going_on: Any = lambda: None) -> None:
    """Return when a session at ``url`` works; ``going_on`` is called between the attempts."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError as exc:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing answers at {url} after {START_TIMEOUT} s") from exc
            going_on()
            time.sleep(0.05)
        else:
            return


class CrashingServer:
    """A server in ``folder``, on a port of the loopback interface, with a database that an ordinary role owns."""

    def __init__(self, folder: Path, version: int = 18, port: int | None = None) -> None:
        """Make its files; `start` begins."""
        self._data = folder / "data"
        account = Account.choose(self._data)
        self._installation = prepare_installation(version, account, folder)
        self._data.mkdir(mode=0o700)
        account.own(self._data)
        options = ["-U", ADMINISTRATOR, "--auth=trust", "--encoding=UTF8", "--no-locale"]
        self._installation.run("initdb", "-D", str(self._data), *options, cwd=folder)
        self._port = port or free_port()
        self.url = f"postgresql://{APPLICATION}@127.0.0.1:{self._port}/{DATABASE}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self._data

    @property
    def port(self) -> int:
        """Its port on the loopback interface."""
        return self._port

    def start(self) -> None:
        """Start it, and return when it answers."""
        wait_until_answers(self._administrators("postgres"), self._launch)

    def prepare(self) -> None:
        """Create the role, its database, and the extension that only an administrator may create."""
        with psycopg.connect(self._administrators("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {APPLICATION} LOGIN")
            connection.execute(f"CREATE DATABASE {DATABASE} OWNER {APPLICATION}")
        with self.administrator() as connection:
            connection.execute("CREATE EXTENSION vector")

    def administrator(self) -> psycopg.Connection[Any]:
        """Return a session of the administrator's, which no spell touches."""
        return psycopg.connect(
            self._administrators(DATABASE), options=UNTOUCHED, connect_timeout=5, autocommit=True
        )  # fmt: skip

    def end_sessions(self) -> None:
        """End the application's sessions, as an administrator does after a change of settings."""
        with self.administrator() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [APPLICATION]
            )

    def crash(self) -> None:
        """End the whole of it at one moment: a postmaster alone would leave backends that go on and commit."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        for child in children_of(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Shut it down in order, with its sessions cut off: the first half of a restart."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        self.prepare()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    def _administrators(self, database: str) -> str:
        return f"postgresql://{ADMINISTRATOR}@127.0.0.1:{self._port}/{database}"

    def _launch(self) -> None:
        """Start it unless it is starting: orphans of a crash may still hold its memory, and the first try fails."""
        if self._process is not None and self._process.poll() is None:
            return
        settings = {"port": self._port, **SETTINGS}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [self._installation.bin / "postgres", "-D", self._data, *options],
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._installation.account.popen_options(),
        )


def children_of(pid: int) -> list[int]:
    """Return the processes that ``pid``'s main thread has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
