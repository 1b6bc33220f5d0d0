"""Calls of a store about API keys of its spaces."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from uuid import UUID

from sona_pg.domain.access import SCOPES, ApiKey, Scope
from sona_pg.domain.ids import uuid7
from sona_pg.engine.space_calls import SpaceCalls
from sona_pg.errors import InvalidValue, UnknownKey
from sona_pg.store.key_store import KeyStore
from sona_pg.store.telemetry_store import TelemetryStore

PREFIX = "sona"


class KeyCalls(SpaceCalls):
    """Operations on the API keys with which the HTTP service is asked."""

    def create_key(self, space: str, name: str, scopes: Iterable[Scope] = ("record", "read")) -> tuple[ApiKey, str]:
        """Make a key of a space; return it with its token, which is stored nowhere and cannot be had again.

        Args:
            space: the space that the key is bound to.
            name: of its holder: the source of the feedback that is given with it.
            scopes: what it may do: ``record``, ``read``, ``learn``, ``admin``.

        Raises:
            InvalidValue: the name or a scope cannot be used.
            UnknownSpace: there is no such space.
        """
        wanted = [scope for scope in SCOPES if scope in set(scopes)]
        unknown = set(scopes) - set(SCOPES)
        if unknown or not wanted:
            raise InvalidValue(f"scopes={sorted(scopes)!r}: expected some of {', '.join(SCOPES)}")
        if not isinstance(name, str) or not 1 <= len(name) <= 200 or not name.isprintable():
            raise InvalidValue(f"name={name!r:.60}: expected 1 to 200 printable characters")
        database = self._database()
        found = database.find_space(space)
        secret = secrets.token_urlsafe(32)
        key = database.keys.create(found, uuid7(), name, _hash(secret), wanted)
        return key, f"{PREFIX}_{found.space_id}_{key.key_id.hex}_{secret}"

    def keys(self, space: str) -> list[ApiKey]:
        """Return the keys of a space, oldest first, with those that were revoked."""
        database = self._database()
        return database.keys.listing(database.find_space(space))

    def revoke_key(self, space: str, key_id: UUID) -> None:
        """Revoke a key: servers refuse it within ten seconds. ``UnknownKey`` if there is no such live key."""
        database = self._database()
        if not database.keys.revoke(database.find_space(space), key_id):
            raise UnknownKey(f"space {space!r} has no live key {key_id}: see `sona-pg keys list`")

    def find_key(self, token: str) -> ApiKey | None:
        """Return the live key of a token; None: it is no such token, or it was revoked."""
        parts = token.split("_", 3)
        if len(parts) != 4 or parts[0] != PREFIX or not parts[1].isdecimal() or len(parts[1]) > 9:
            return None
        try:
            key_id = UUID(hex=parts[2])
        except ValueError:
            return None
        key = self._database().keys.find(int(parts[1]), key_id)
        if key is None or key.revoked_at is not None or not hmac.compare_digest(key.hash, _hash(parts[3])):
            return None
        return key

    @property
    def key_store(self) -> KeyStore:
        """API keys, and answers to requests with an idempotency key, as they are stored."""
        return self._database().keys

    @property
    def telemetry(self) -> TelemetryStore:
        """Ids of trajectories by the spans of OpenTelemetry, as they are stored."""
        return self._database().telemetry


def _hash(secret: str) -> bytes:
    """SHA-256 suffices: a secret of 256 random bits cannot be guessed, however fast the hash."""
    return hashlib.sha256(secret.encode()).digest()
