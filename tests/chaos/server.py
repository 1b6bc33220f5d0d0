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
from typing import Self

import psycopg

from sona_pg.store.pgbinaries import Account, prepare_installation

START_TIMEOUT = 60.0  # seconds; recovery is part of it


class CrashingServer:
    """A server in ``folder``, on a port of the loopback interface."""

    def __init__(self, folder: Path, version: int = 18) -> None:
        self._data = folder / "data"
        account = Account.choose(self._data)
        self._installation = prepare_installation(version, account, folder)
        self._data.mkdir(mode=0o700)
        account.own(self._data)
        self._installation.run(
            "initdb", "-D", str(self._data), "-U", "sona", "--auth=trust", "--encoding=UTF8", "--no-locale", cwd=folder
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"postgresql://sona@127.0.0.1:{self._port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        settings = {
            "port": self._port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "shared_buffers": "64MB",
            "max_connections": 60,
            "checkpoint_timeout": "30s",
            "log_min_messages": "panic",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            if self._process is None or self._process.poll() is not None:  # orphans may still hold its memory
                self._process = subprocess.Popen(
                    [self._installation.bin / "postgres", "-D", self._data, *options],
                    cwd="/",
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    **self._installation.account.popen_options(),
                )
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, f"Postgres in {self._data} does not start"
                time.sleep(0.05)
            else:
                return

    def crash(self) -> None:
        """End the whole of it at one moment: a postmaster alone would leave backends that go on and commit."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        for child in self._children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    def _children(self) -> list[int]:
        assert self._process is not None
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
