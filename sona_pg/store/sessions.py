"""Connections with a dedicated session: for LISTEN, and for statements that run outside transactions.

Behind a transaction pooler, a SET or LISTEN would affect another client. Settings are therefore passed as startup
options, which a pooler rejects (PgBouncer) or ignores. One of them is a random token: if the server shows it, the
connection leads to Postgres itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import psycopg

from sona_pg.store.connect import CONNECT_TIMEOUT, read_times

TOKEN = "sona.session"
READ_TOKEN = f"SELECT current_setting('{TOKEN}', true)"


def open_session(
    arguments: Mapping[str, Any], name: str, settings: Mapping[str, str] | None = None
) -> tuple[psycopg.Connection[Any], bool]:
    """Return an autocommit connection, and whether its session is dedicated to it.

    ``settings`` apply to a dedicated session only; their values must not contain spaces.
    """
    token = secrets.token_hex(8)
    given = [f"-c {setting}={value}" for setting, value in {**(settings or {}), TOKEN: token}.items()]
    common: dict[str, Any] = {
        **arguments,
        "autocommit": True,
        "connect_timeout": CONNECT_TIMEOUT,
        "application_name": name,
        "prepare_threshold": None,
    }
    options = " ".join([*filter(None, [common.get("options")]), *given])
    try:
        raw = psycopg.connect(**{**common, "options": options})
    except psycopg.OperationalError:
        # Connect errors carry no SQLSTATE; one with another cause than the options recurs in this attempt.
        raw = psycopg.connect(**common)
    try:
        read_times(raw)
        row = raw.execute(READ_TOKEN).fetchone()
    except BaseException:
        raw.close()
        raise
    return raw, row == (token,)
