"""Connections on which indexes are built: no statement of theirs may run in a transaction, so that SET LOCAL is of no use.

Their settings travel with the start of the connection. A transaction pooler refuses them (PgBouncer) or ignores them;
SET would leave them on a session that other clients get next. There a build runs with whatever the server gives, unless
that is a ``statement_timeout``: it would end every build, and leave it to be begun again an hour later.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy.engine import URL

from sona_pg.store.connect import CONNECT_TIMEOUT, driver_arguments

TOKEN = "sona.build"  # a setting of our own: where it arrives, all others have
READ_TOKEN = f"SELECT current_setting('{TOKEN}', true), current_setting('statement_timeout')"


class CannotBuild(Exception):
    """The address leads to a pooler under whose settings no build would end."""


@dataclass(frozen=True, slots=True)
class Builder:
    """A connection that commits each statement by itself."""

    raw: psycopg.Connection[Any]
    direct: bool  # whether it has the settings that were asked for


@contextmanager
def builder(url: URL, memory_mb: int, *, parallel: bool = True) -> Iterator[Builder]:
    """Open a connection for building an index, and close it.

    Raises:
        CannotBuild: the settings did not arrive, and the server's would end the build.
    """
    arguments = driver_arguments(url)
    token = secrets.token_hex(8)
    settings = {
        "statement_timeout": "0", "lock_timeout": "600000", "maintenance_work_mem": f"{memory_mb}MB", TOKEN: token
    }  # fmt: skip
    if not parallel:
        settings["max_parallel_maintenance_workers"] = "0"
    options = " ".join(
        [str(arguments.pop("options", "")), *(f"-c {name}={value}" for name, value in settings.items())]
    ).strip()
    with _connect(arguments, options) as raw:
        row = raw.execute(READ_TOKEN).fetchone()
        assert row is not None
        direct = row[0] == token
        if not direct and row[1] != "0":
            raise CannotBuild(
                f"the address leads to a pooler, and statement_timeout = {row[1]} there would end the build: run "
                "sona-pg maintain with the address of Postgres itself, or set the role's statement_timeout to 0"
            )
        yield Builder(raw, direct)


def _connect(arguments: dict[str, Any], options: str) -> psycopg.Connection[Any]:
    common: dict[str, Any] = {
        **arguments,
        "autocommit": True,
        "connect_timeout": CONNECT_TIMEOUT,
        "application_name": "sona-pg maintenance build",
        "prepare_threshold": None,
    }
    try:
        return psycopg.connect(**common, options=options)
    except psycopg.OperationalError:
        # Of a refusal at the start the driver keeps no SQLSTATE. If it was another, the next attempt meets it again.
        return psycopg.connect(**common)
