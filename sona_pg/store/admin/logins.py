"""Logins that see one space, or every one: ``sona-pg roles grant``, ``revoke`` and ``list``."""

from __future__ import annotations

import secrets
from typing import Any

import psycopg
from psycopg import sql

from sona_pg.domain.login import CAPABILITIES, Capability, Login
from sona_pg.errors import ConfigError, DatabaseError, InvalidValue
from sona_pg.limits import LONGEST_ROLE_NAME
from sona_pg.store import acts
from sona_pg.store.admin.roles import (
    ADD,
    EVERY_SPACE,
    MEMBERSHIPS,
    ROLE,
    connected,
    group_of,
    installed_prefix,
    owning,
)
from sona_pg.store.connect import parse_url, translated
from sona_pg.store.topology import in_sequence

OF_ROLE = """
SELECT r.space_id, s.name FROM sona.space_roles r LEFT JOIN sona.spaces s ON s.space_id = r.space_id
WHERE r.role_name = %s
"""
LISTING = """
SELECT m.role_name, s.name, m.space_id
FROM sona.space_roles m LEFT JOIN sona.spaces s ON s.space_id = m.space_id
ORDER BY s.name NULLS FIRST, m.role_name
"""
# Citus joins no catalog with tables that it has spread.
IN_GROUPS = """
SELECT r.rolname::text, min(g.rolname::text) FROM pg_auth_members a
JOIN pg_roles g ON g.oid = a.roleid JOIN pg_roles r ON r.oid = a.member
WHERE g.rolname = ANY (%s) GROUP BY r.rolname
"""


def grant(url: str, login: str, capability: Capability, space: str | None) -> Login:
    """Let ``login`` do what ``capability`` says in ``space``, or in every space; make the login if it is missing.

    Raises:
        ConfigError: row-level security is not installed, or the login sees more than one space anyway.
        InvalidValue: the login has rights in another space, or its name cannot be used.
    """
    if not 1 <= len(login.encode()) <= LONGEST_ROLE_NAME or "\0" in login:
        raise InvalidValue(f"login {login!r}: expected 1 to {LONGEST_ROLE_NAME} bytes")
    with translated(f"granting rights to {login!r}", parse_url(url)), owning(url) as raw, raw.transaction():
        in_sequence(raw)
        prefix = _required_prefix(raw)
        number = EVERY_SPACE if space is None else _space_id(raw, space)
        _require_restricted(raw, login, prefix)
        known = raw.execute(OF_ROLE, [login]).fetchall()
        if any(row[0] != number for row in known):
            seen = "every space" if known[0][0] == EVERY_SPACE else f"space {known[0][1]!r}"
            raise InvalidValue(
                f"login {login!r} sees {seen}: use one login for each space, or `sona-pg roles revoke {login}` first"
            )
        password = _make_login(raw, login)
        _leave_groups(raw, login, prefix)
        group = sql.Identifier(group_of(prefix, capability))
        raw.execute(sql.SQL("GRANT {} TO {}").format(group, sql.Identifier(login)))
        raw.execute(ADD, [number, login])
        acts.note(raw, number, "login granted", {"login": login, "as": capability})
        return Login(login, capability, space, password)


def revoke(url: str, login: str) -> bool:
    """Take a login's rights; it sees nothing from its next statement on. Return whether it had any."""
    with translated(f"revoking the rights of {login!r}", parse_url(url)), owning(url) as raw, raw.transaction():
        in_sequence(raw)
        prefix = _required_prefix(raw)
        seen = raw.execute("DELETE FROM sona.space_roles WHERE role_name = %s RETURNING space_id", [login]).fetchall()
        for (number,) in seen:
            acts.note(raw, number, "login revoked", {"login": login})
        return bool(_leave_groups(raw, login, prefix) or seen)


def listing(url: str) -> list[Login]:
    """Return the logins that see a space, or every space."""
    with translated("listing logins", parse_url(url)), connected(url) as raw:
        prefix = installed_prefix(raw)
        groups = {group_of(prefix, capability): capability for capability in CAPABILITIES} if prefix else {}
        group_of_login = dict(raw.execute(IN_GROUPS, [list(groups)]).fetchall())
        return [
            Login(name, groups.get(group_of_login.get(name, "")), None if number == EVERY_SPACE else space)
            for name, space, number in raw.execute(LISTING).fetchall()
        ]


def _require_restricted(raw: psycopg.Connection[Any], login: str, prefix: str) -> None:
    row = raw.execute(ROLE, [login]).fetchone()
    if row is not None and row[1]:
        raise ConfigError(
            f"login {login!r} is a superuser, has BYPASSRLS or is the owner's: it sees every space whatever is granted"
        )
    if login in {group_of(prefix, capability) for capability in CAPABILITIES} or (row is not None and not row[0]):
        raise ConfigError(f"role {login!r} is a group: rights in a space are granted to logins")


def _make_login(raw: psycopg.Connection[Any], login: str) -> str | None:
    """Make a login with a random password, and return it; None if the login is there."""
    if raw.execute(ROLE, [login]).fetchone() is not None:
        return None
    password = secrets.token_urlsafe(24)
    # Hashed here, so that the password stands in no log of the server.
    told = raw.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
    raw.execute(statement.format(sql.Identifier(login), sql.Literal(told)))
    return password


def _leave_groups(raw: psycopg.Connection[Any], login: str, prefix: str) -> int:
    groups = [group_of(prefix, capability) for capability in CAPABILITIES]
    left = raw.execute(MEMBERSHIPS, [login, groups]).fetchall()
    for (group,) in left:
        raw.execute(sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(group), sql.Identifier(login)))
    return len(left)


def _space_id(raw: psycopg.Connection[Any], name: str) -> int:
    row = raw.execute("SELECT space_id FROM sona.space_names WHERE name = %s", [name]).fetchone()
    if row is None:
        raise DatabaseError(f"there is no space {name!r}: make it first (sona-pg space create)")
    return int(row[0])


def _required_prefix(raw: psycopg.Connection[Any]) -> str:
    prefix = installed_prefix(raw)
    if prefix is None:
        raise ConfigError("row-level security is not installed in this store: run sona-pg roles install first")
    return prefix
