"""Connections that need a session of their own: for LISTEN, and for statements that run in no transaction.

A transaction pooler gives a session to whoever asks next: a SET or a LISTEN would be another client's. Settings travel
with the start of the connection instead, which a pooler refuses (PgBouncer) or ignores, and among them one of ours:
where that has arrived, the connection leads to Postgres itself.
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
    """Return a connection that commits each statement by itself, and whether its session is its own.

    Only then does it have ``settings``; their values must not contain spaces.
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
        # Of a refusal at the start the driver keeps no SQLSTATE. If it was another, the next attempt meets it again.
        raw = psycopg.connect(**common)
    try:
        read_times(raw)
        row = raw.execute(READ_TOKEN).fetchone()
    except BaseException:
        raw.close()
        raise
    return raw, row == (token,)
