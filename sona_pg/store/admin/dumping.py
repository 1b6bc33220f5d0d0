"""Dump of a whole store by pg_dump, and back by pg_restore: of the right version, whole, by a role that sees all."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from sona_pg.config.environment import inherited
from sona_pg.domain.act import WHOLE_STORE
from sona_pg.errors import ConfigError, DatabaseError, StorageError
from sona_pg.store import acts, upkeep_times
from sona_pg.store.admin import check
from sona_pg.store.admin.check import Fault
from sona_pg.store.admin.pgbinaries import FOLDERS, find_programs
from sona_pg.store.connect import driver_arguments, parse_url, translated
from sona_pg.store.whole_file import whole_file
from sona_pg.store.worker_sessions import connected_workers

REPLACED = "sona_replaced"  # name of a store that was replaced, until it is dropped
DEBIAN = Path("/usr/lib/postgresql")
MODERN = 17  # pg_restore of this version or newer sets parameters that older servers do not know

Progress = Callable[[int, int], None]  # tables done, tables in all

TABLES = """
SELECT c.relname, row_security_active(c.oid), has_table_privilege(c.oid, 'SELECT') FROM pg_class c
WHERE c.relnamespace = to_regnamespace('sona') AND c.relkind = 'r'
"""

# The restore is one transaction: others see the store of before until it commits. Meanwhile servers keep their records.
BEGIN = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;\n"
HOLD = "SET LOCAL lock_timeout = '60s'; LOCK TABLE sona.spaces IN EXCLUSIVE MODE;\n"
MOVE = f"ALTER SCHEMA sona RENAME TO {REPLACED};\n"
COMMIT = "\nCOMMIT;\n"
DROP = f"DROP SCHEMA IF EXISTS {REPLACED} CASCADE"
LIVE = "SELECT DISTINCT format('server %s:%s', host, pid) FROM sona.fleet WHERE state = 'live' ORDER BY 1"
BLOCK = 1 << 18  # bytes


@dataclass(frozen=True, slots=True)
class Programs:
    """``pg_dump``, ``pg_restore`` and ``psql`` of one version."""

    folder: Path
    major: int


def dump(url: str, path: Path, progress: Progress = lambda done, total: None) -> dict[str, Any]:
    """Write the schema ``sona`` with all rows to ``path``; return figures. The file appears when it is whole.

    Raises:
        DatabaseError: Postgres is away, has no store, or shows this role only a part of the rows.
        StorageError: the file cannot be written, or ``pg_dump`` fails.
        ConfigError: there is no ``pg_dump`` of the server's version or newer.
    """
    with translated("preparing the dump", parse_url(url)), closing(_connected(url)) as raw:
        version = raw.info.server_version // 10_000
        tables = raw.execute(TABLES).fetchall()
    if not tables:
        raise DatabaseError("there is no store in this database: nothing to dump")
    hidden = [name for name, bound, readable in tables if bound or not readable]
    if hidden:
        raise DatabaseError(
            f"this role sees only a part of {len(hidden)} tables, such as sona.{hidden[0]} (row-level security or "
            "missing grants): the dump would be incomplete; dump as the owner of the schema, or a role with BYPASSRLS"
        )
    programs = programs_for(version)
    try:
        with whole_file(path) as beside:
            arguments = [
                "--format=custom",
                "--schema=sona",
                "--no-owner",
                "--no-privileges",
                f"--file={beside}",
                "--verbose",
            ]
            _run(programs, "pg_dump", url, arguments, lambda done: progress(min(done, len(tables)), len(tables)))
            size = _require_whole(programs, beside)
    except OSError as exc:
        raise StorageError(f"{path} cannot be written: {exc.strerror or exc}") from exc
    with translated("noting the dump", parse_url(url)), closing(_connected(url)) as raw:
        upkeep_times.note(raw, "dumped")
    return {"file": str(path), "bytes": size, "tables": len(tables), "postgres": version, "pg_dump": programs.major}


def restore(
    url: str, path: Path, *, replace: bool = False, progress: Progress = lambda done, total: None
) -> list[Fault]:
    """Restore a dump into the database at ``url``, in one transaction; return what ``check`` finds wrong afterwards.

    Raises:
        StorageError: the file is no dump, is cut short, or cannot be restored; nothing has changed.
        DatabaseError: there is a store already, and ``replace`` does not allow to drop it.
        ConfigError: the dump is of a newer Postgres than the server; carry the spaces as archives.
    """
    with translated("preparing the restore", parse_url(url)), closing(_connected(url)) as raw:
        server = raw.info.server_version // 10_000
        there = raw.execute("SELECT to_regnamespace('sona') IS NOT NULL").fetchone() == (True,)
    programs = programs_for(server, at_least=_dumped_by(path))
    listed = _listing(programs, path)
    source = re.search(r"Dumped from database version: (\d+)", listed)
    if source is None:
        raise StorageError(f"{path} is no dump of a database")
    if int(source[1]) > server or (programs.major >= MODERN > server):
        raise ConfigError(
            f"{path} was made on Postgres {source[1]} by pg_dump {_dumped_by(path)}, the server is {server}: an older "
            "server cannot read it; carry the spaces with `sona-pg space archive` and `sona-pg space unarchive`"
        )
    _require_whole(programs, path)
    if there and not replace:
        raise DatabaseError("there is a store in this database already: restore into an empty one, or replace it")
    total = listed.count(" TABLE DATA ")
    with translated("preparing the restore", parse_url(url)), closing(_connected(url)) as raw:
        raw.execute("CREATE EXTENSION IF NOT EXISTS vector")
        raw.execute(DROP)
        begin, end = BEGIN, COMMIT
        if there:
            begin += HOLD * (raw.execute("SELECT to_regclass('sona.spaces')").fetchone() != (None,)) + MOVE
        if " TABLE sona acts " in listed:  # else of an older release
            end = f"{acts.statement(raw, WHOLE_STORE, 'store restored', {'file': path.name, 'replaced': there})};" + end
    _put(programs, url, path, begin, f"RESET ALL;{end}", lambda done: progress(min(done, total), total))
    with translated("dropping the store of before", parse_url(url)), closing(_connected(url)) as raw:
        raw.execute(DROP)
        if made := re.search(r"Archive created at (\S+ \S+ UTC)", listed):  # the rows are of before that dump was noted
            upkeep_times.note(raw, "dumped", datetime.strptime(made[1], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC))
    return check.faults(url)


def at_work(url: str) -> list[str]:
    """Return the live servers and workers of the store that is there; none where it is not one that can be asked."""
    with translated("asking who works on the store", parse_url(url)), closing(_connected(url)) as raw:
        live: list[str] = []
        with suppress(psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):  # no store, or a broken one
            live = [name for (name,) in raw.execute(LIVE)]
        return live + [f"worker {session.worker}" for session in connected_workers(raw)]


def _put(programs: Programs, url: str, path: Path, begin: str, end: str, tables_done: Callable[[int], object]) -> None:
    """Have psql run ``begin``, the dump as SQL, and ``end``, which commits: if anything stops, nothing has changed."""
    name, environment = _client(url)
    psql = [
        str(programs.folder / "psql"),
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        f"--dbname={name}",
        "--file=-",
    ]
    script = [str(programs.folder / "pg_restore"), "--no-owner", "--no-privileges", "--file=-", str(path)]
    done = 0
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as told:
        with (
            subprocess.Popen(psql, stdin=PIPE, stdout=DEVNULL, stderr=told, env=environment) as run,
            subprocess.Popen(script, stdout=PIPE, stderr=said) as reading,
        ):
            assert run.stdin is not None
            assert reading.stdout is not None
            try:
                run.stdin.write(begin.encode())
                while block := reading.stdout.read(BLOCK):
                    run.stdin.write(block)
                    done += block.count(b"\nCOPY sona.")
                    tables_done(done)
                if reading.wait() == 0:
                    run.stdin.write(end.encode())
                run.stdin.close()
            except BrokenPipeError:  # psql has ended at an error
                with suppress(BrokenPipeError):
                    run.stdin.close()
        for program, told_by, code in (("psql", told, run.returncode), ("pg_restore", said, reading.returncode)):
            if code:
                told_by.seek(0)
                raise StorageError(
                    f"{program} {programs.major} failed: {_last(told_by.read().decode(errors='replace'))}"
                )


def programs_for(server: int, at_least: int = 0) -> Programs:
    """Return the client programs for a server's version: the oldest that are not older than it.

    Raises:
        ConfigError: there are none on this machine.
    """
    found = sorted(_installed(), key=lambda programs: programs.major)
    fitting = [programs for programs in found if programs.major >= max(server, at_least)]
    if not fitting:
        there = ", ".join(str(programs.major) for programs in found) or "none"
        raise ConfigError(
            f"the server is Postgres {server}, and this machine has pg_dump of {there}: "
            f"install postgresql-client-{server}"
        )
    return fitting[0]


def _installed() -> Iterator[Programs]:
    for major in FOLDERS:
        try:
            yield Programs(find_programs(major) / "bin", major)
        except ConfigError:  # the extra `embedded` is not installed
            break
    for folder in DEBIAN.glob("*/bin"):
        if (folder / "pg_dump").exists() and folder.parent.name.isdigit():
            yield Programs(folder, int(folder.parent.name))
    on_path = shutil.which("pg_dump")
    if on_path is not None:
        told = subprocess.run([on_path, "--version"], capture_output=True, text=True, check=False).stdout
        number = re.search(r"(\d+)", told)
        if number is not None:
            yield Programs(Path(on_path).parent, int(number[1]))


def _dumped_by(path: Path) -> int:
    """Return the major version of the ``pg_dump`` that a file needs, by the version of its format."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as exc:
        raise StorageError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    if head[:5] != b"PGDMP" or len(head) < 8:
        raise StorageError(f"{path} is no dump of pg_dump's custom format")
    return 17 if (head[5], head[6]) >= (1, 16) else 0


def _listing(programs: Programs, path: Path) -> str:
    command = [str(programs.folder / "pg_restore"), "--list", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=inherited() | {"TZ": "UTC"})
    if done.returncode:
        raise StorageError(f"{path} is damaged or cut short: {_last(done.stderr)}")
    return done.stdout


def _require_whole(programs: Programs, path: Path) -> int:
    """Read all of a dump; return its size."""
    command = [str(programs.folder / "pg_restore"), "--file=-", str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as reading:
        _, errors = reading.communicate()
    if reading.returncode:
        raise StorageError(f"{path} is damaged or cut short: {_last(errors)}")
    return path.stat().st_size


def _run(
    programs: Programs, program: str, url: str, arguments: Sequence[str], tables_done: Callable[[int], object]
) -> None:
    """Run a program on the database."""
    name, environment = _client(url)
    command = [str(programs.folder / program), f"--dbname={name}", *arguments]
    lines: list[str] = []
    done = 0
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as run:
        assert run.stderr is not None
        for line in run.stderr:
            lines = [*lines[-5:], line]
            if "dumping contents of table" in line:
                done += 1
                tables_done(done)
    if run.returncode:
        raise StorageError(f"{program} {programs.major} failed: {_last(''.join(lines))}")


def _client(url: str) -> tuple[str, dict[str, str]]:
    """Return the database for a program's arguments, and its environment, in which the password travels."""
    told = {name: value for name, value in driver_arguments(url).items() if value is not None}
    password = told.pop("password", None)
    environment = {**inherited(), "LC_ALL": "C"} | ({"PGPASSWORD": str(password)} if password is not None else {})
    return make_conninfo(**told), environment


def _last(errors: str) -> str:
    words = [line.strip() for line in errors.splitlines() if "error" in line.lower() or "could not" in line]
    return " | ".join(words[-2:] or errors.strip().splitlines()[-1:] or ["no reason given"])


def _connected(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(
        **{"connect_timeout": 5, "application_name": "sona-pg dump", **driver_arguments(url)},
        autocommit=True,
        prepare_threshold=None,
    )
