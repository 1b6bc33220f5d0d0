"""The embedded Postgres: shared, stopped with its last user, restarted after a crash, clear in its errors."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import psycopg
import pytest
from fix_homes import temporary_home, wait_until_stopped

from sona_pg.errors import ConfigError, StorageError
from sona_pg.store.admin import pgbinaries
from sona_pg.store.admin.embedded import start_embedded

AS_ROOT = os.geteuid() == 0
USER = """
import sys
from pathlib import Path
from sona_pg.store.admin.embedded import start_embedded
server = start_embedded(Path(sys.argv[1]))
print(server.data.joinpath("postmaster.pid").read_text().split()[0], flush=True)
sys.stdin.read()
"""


class User:
    """Another process that uses the server of `home` until its standard input is closed, or it is killed."""

    def __init__(self, home: Path) -> None:
        command = [sys.executable, "-c", USER, str(home)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def postmaster(self) -> int:
        """Wait for its server; the pid of that."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def end(self, how: signal.Signals | None = None) -> None:
        if how is None:
            self.process.communicate()
        else:
            self.process.send_signal(how)
            self.process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def home() -> Iterator[Path]:
    with temporary_home() as home:
        yield home


def _postmaster(home: Path) -> int:
    return int((home / "postgres/data/postmaster.pid").read_text().split()[0])


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] not in "ZX"
    except OSError:
        return False


def _wait(condition: Callable[[], bool], timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("version", [18, 16])
def test_a_fresh_home_gets_a_server_with_pgvector(home: Path, version: int) -> None:
    with start_embedded(home, version=version) as server, psycopg.connect(server.url) as connection:
        connection.execute("CREATE EXTENSION vector")
        settings = ["server_version", "fsync", "jit", "listen_addresses", "data_checksums", "server_encoding"]
        settings += ["dynamic_shared_memory_type"]
        show = [connection.execute(f"SHOW {setting}").fetchone() for setting in settings]
        names = "SELECT current_user, current_database(), '[3,4]'::vector <-> '[0,0]'"
        assert connection.execute(names).fetchone() == ("sona", "sona", 5.0)
    versions = {18: "18.4", 16: "16.14"}
    assert show == [(versions[version],), ("on",), ("off",), ("",), ("on",), ("UTF8",), ("sysv",)]
    assert server.version == version


def test_two_processes_share_it_and_it_stops_with_the_last(home: Path) -> None:
    server = start_embedded(home)
    postmaster = _postmaster(home)
    with User(home) as other:
        assert other.postmaster() == postmaster
        server.release()
        server.release()
        time.sleep(0.3)
        assert _is_running(postmaster)
        other.end()
        wait_until_stopped(home)
    _wait(lambda: not _is_running(postmaster))
    assert "database system is shut down" in (home / "postgres/server.log").read_text()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_no_longer_holds_the_server(home: Path, how: signal.Signals) -> None:
    with User(home) as user:
        postmaster = user.postmaster()
        with start_embedded(home) as server:
            user.end(how)
            time.sleep(0.3)
            psycopg.connect(server.url).close()
    with User(home) as last:
        last.postmaster()
        last.end(how)
    wait_until_stopped(home)
    _wait(lambda: not _is_running(postmaster))


def test_processes_that_start_together_on_an_empty_home_get_one_server(home: Path) -> None:
    users = [User(home) for _ in range(4)]
    try:
        assert len({user.postmaster() for user in users}) == 1
    finally:
        for user in users:
            user.end()


def test_a_start_waits_for_a_stop_that_is_under_way(home: Path) -> None:
    for _ in range(5):
        with start_embedded(home) as server:
            psycopg.connect(server.url).close()


def test_after_a_crash_of_the_whole_server_committed_rows_are_kept(home: Path) -> None:
    with start_embedded(home) as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE facts AS SELECT 42 AS n")
        postmaster = _postmaster(home)
        os.kill(postmaster, signal.SIGSTOP)  # else it would see its children die and end in order
        for child in _children(postmaster):
            os.kill(child, signal.SIGKILL)
        os.kill(postmaster, signal.SIGKILL)
        _wait(lambda: not _is_running(postmaster))
        with start_embedded(home) as again, psycopg.connect(again.url) as connection:
            assert connection.execute("SELECT n FROM facts").fetchone() == (42,)
    assert "automatic recovery in progress" in (home / "postgres/server.log").read_text()


def test_a_backend_that_outlives_its_postmaster_is_waited_for(home: Path) -> None:
    with start_embedded(home) as server:
        connection = psycopg.connect(server.url, autocommit=True)
        # Busy as it is, the backend does not see the postmaster die.
        connection.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 20000000)")
        time.sleep(0.2)
        postmaster = _postmaster(home)
        os.kill(postmaster, signal.SIGKILL)
        _wait(lambda: not _is_running(postmaster))
        with start_embedded(home) as again:
            psycopg.connect(again.url).close()
        connection.close()
    assert "shared memory block" in (home / "postgres/server.log").read_text()


def test_a_killed_first_start_leaves_no_half_data_folder(home: Path) -> None:
    with User(home) as user:
        _wait(lambda: any(home.glob("postgres/.data-*/base")))
        user.end(signal.SIGKILL)
    assert not (home / "postgres/data").exists()
    with start_embedded(home) as server:
        psycopg.connect(server.url).close()


def test_a_stale_pid_file_whose_number_is_anothers_now_does_not_stop_a_start(home: Path) -> None:
    start_embedded(home).release()
    wait_until_stopped(home)
    words = f"{os.getpid()}\n{home}/postgres/data\n1700000000\n5432\n\n\n  0 0\nready\n"
    for stale in ("data/postmaster.pid", "run/.s.PGSQL.5432.lock"):
        (home / "postgres" / stale).write_text(words)
    with start_embedded(home) as server:
        psycopg.connect(server.url).close()


def test_own_settings_in_the_data_folder_are_kept(home: Path) -> None:
    start_embedded(home).release()
    wait_until_stopped(home)
    with (home / "postgres/data/postgresql.conf").open("a") as settings:
        settings.write("shared_buffers = 16MB\n")
    with start_embedded(home) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SHOW shared_buffers").fetchone() == ("16MB",)


def test_a_home_whose_name_is_long_and_odd_works(home: Path) -> None:
    home.chmod(0o711)
    odd = home / ("very long, " * 12 + "it's ü")
    with start_embedded(odd) as server, psycopg.connect(server.url) as connection:
        row = connection.execute("SHOW unix_socket_directories").fetchone()
    wait_until_stopped(odd)
    assert row is not None
    assert re.fullmatch(r"/tmp/sona-pg-\w{16}", row[0])
    Path(row[0]).rmdir()


@pytest.mark.skipif(not AS_ROOT, reason="only root runs the server as another account")
def test_programs_that_the_account_cannot_reach_are_copied(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    package = pgbinaries.find_programs(18).parent
    for name in (package.name, f"{package.name}.libs"):
        (tmp_path / name).symlink_to(package.with_name(name))
    monkeypatch.setattr(pgbinaries, "find_programs", lambda _: tmp_path / package.name / "pginstall18")
    with start_embedded(home) as server:
        psycopg.connect(server.url).close()
        running = os.readlink(f"/proc/{_postmaster(home)}/exe")
    assert running.startswith(str(home / "postgres"))
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_version_that_is_not_shipped_is_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"version=17 .*expected 16 or 18"):
        start_embedded(home, version=17)
    assert not any(home.iterdir())


def test_a_data_folder_of_another_version_is_refused(home: Path) -> None:
    start_embedded(home, version=16).release()
    with pytest.raises(StorageError, match=r"made by Postgres 16, expected 18: open it with version=16"):
        start_embedded(home)


def test_a_missing_extra_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'sona-pg\[embedded\]'"):
        start_embedded(home)


def test_a_file_in_place_of_the_folder_is_refused(home: Path) -> None:
    (home / "file").touch()
    with pytest.raises(StorageError, match=r"file/home cannot be used .*SONA_PG_HOME"):
        start_embedded(home / "file" / "home")


@pytest.mark.skipif(AS_ROOT, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(home: Path) -> None:
    home.chmod(0o500)
    with pytest.raises(StorageError, match=r"cannot be used .*Permission denied.*SONA_PG_HOME"):
        start_embedded(home / "inner")
    home.chmod(0o700)


@pytest.mark.skipif(not AS_ROOT, reason="only root runs the server as another account")
def test_a_folder_that_the_account_cannot_reach_is_refused_and_left_as_it_is(home: Path) -> None:
    home.chmod(0o700)
    with pytest.raises(StorageError, match=r"cannot be reached by the account 'pgserver'.*SONA_PG_HOME"):
        start_embedded(home / "inner")
    assert home.stat().st_mode & 0o777 == 0o700
