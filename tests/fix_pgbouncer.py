"""PgBouncer in transaction mode in front of a test's database, for real: Debian's package `pgbouncer`.

======================== ==============================================================================
`pooler`                 a running pooler in front of the test's database; `pooler.url` leads through it
`pooler.backends()` the effects of SET and LISTEN on each of its server sessions
======================== ==============================================================================

Where it is not installed its tests are skipped with a loud line; `REQUIRE_PGBOUNCER=1` makes that fail.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from fix_proxy import Proxy
from sqlalchemy import make_url

POOL = 6  # server connections
INSTALL = "apt-get install pgbouncer"
LEFT = """
SELECT name, setting FROM pg_settings WHERE source = 'session'
UNION ALL SELECT 'LISTEN', pg_listening_channels()
"""
TRACKED = {"application_name", "client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings"}
CONFIG = """
[databases]
* = host=127.0.0.1 port={server_port} {login}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool}
ignore_startup_parameters = extra_float_digits{ignored}
logfile = {folder}/log
server_lifetime = 3600
"""


class Pooler:
    """A PgBouncer in front of one database."""

    def __init__(self, url: str, port: int) -> None:
        through = make_url(url).set(host="127.0.0.1", port=port).difference_update_query(["host", "port"])
        self.url = through.render_as_string(hide_password=False)

    def connect(self, **options: object) -> psycopg.Connection:
        return psycopg.connect(self.url, prepare_threshold=None, **options)  # type: ignore[arg-type]

    def backends(self) -> list[dict[str, str]]:
        """Effects of SET and LISTEN on each server session, queried all at once."""
        with ExitStack() as stack:
            clients = [stack.enter_context(self.connect()) for _ in range(POOL)]
            found = [dict(client.execute(LEFT).fetchall()) for client in clients]  # each holds its transaction open
        return [{name: value for name, value in left.items() if name not in TRACKED} for left in found]


def _program() -> str | None:
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "pgbouncer" in str(report.longrepr)]
    if skipped:
        missing = f"pgbouncer: {len(skipped)} TESTS NOT RUN: it is not installed ({INSTALL})"
        terminalreporter.line(f"{missing} (REQUIRE_PGBOUNCER=1 makes this fail)", red=True, bold=True)


@contextmanager
def run_pooler(url: str, ignored: str = "") -> Iterator[Pooler]:
    """Run a pooler in front of `url`; `ignored` names startup parameters that it swallows instead of refusing."""
    program = _program()
    if program is None:
        if os.environ.get("REQUIRE_PGBOUNCER", "0") not in ("", "0"):
            pytest.fail(f"REQUIRE_PGBOUNCER is set, and pgbouncer is not installed: {INSTALL}")
        pytest.skip(f"pgbouncer is not installed: {INSTALL}")
    address = make_url(url)
    login = f"user={address.username}" + (f" password={address.password}" if address.password else "")
    bridge = Proxy(url)  # it speaks TCP to the server, whose socket may be in a folder that the pooler may not enter
    folder = Path(tempfile.mkdtemp(prefix="sona-pg-pgbouncer-"))
    try:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        config = folder / "config.ini"
        config.write_text(
            CONFIG.format(
                server_port=make_url(bridge.url).port, login=login, port=port, pool=POOL,
                ignored=f", {ignored}" if ignored else "", folder=folder,
            )
        )  # fmt: skip
        command = [program, "-q", str(config)]
        if os.geteuid() == 0:  # which it refuses to run as
            shutil.chown(folder, "nobody")
            shutil.chown(config, "nobody")
            command[1:1] = ["-u", "nobody"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            pooler = Pooler(url, port)
            _wait_for(pooler, process, folder / "log")
            yield pooler
        finally:
            process.terminate()
            process.wait(10)
    finally:
        bridge.close()
        shutil.rmtree(folder)


def _wait_for(pooler: Pooler, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            pooler.connect().close()
        except psycopg.OperationalError as exc:
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                said = log.read_text()[:2000] if log.exists() else ""
                pytest.fail(f"pgbouncer does not answer: {exc}\n{said}")
            time.sleep(0.02)
        else:
            return


@pytest.fixture
def pooler(database_url: str) -> Iterator[Pooler]:
    """A pooler in transaction mode in front of the test's own database."""
    with run_pooler(database_url) as running:
        yield running
