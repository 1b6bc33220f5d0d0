"""API keys of the HTTP service, and answers to requests that may come twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_once

from sona_pg.domain.access import AnsweredRequest, ApiKey, ClaimedRequest, Scope
from sona_pg.domain.space import Space
from sona_pg.store import acts, leases
from sona_pg.store.connect import driver_connection
from sona_pg.store.schema import api_keys, idempotent_requests, spaces
from sona_pg.store.transactions import BRIEF, prompt, reading, transaction

GIVEN_UP = timedelta(minutes=2)  # after which a request that was never answered may be sent again
RELEASED = "released"  # in the place of the media type: the request failed, and may be sent again at once
KEY = (
    api_keys.c.space_id, api_keys.c.key_id, api_keys.c.name, api_keys.c.hash, api_keys.c.scopes, api_keys.c.created_at,
    api_keys.c.revoked_at, spaces.c.name.label("space"), spaces.c.dim,
)  # fmt: skip


class KeyStore:
    """Makes, finds and revokes API keys, and remembers the answers to requests with an idempotency key."""

    def __init__(self, engine: Engine) -> None:
        """Ask the database of ``engine``."""
        self._engine = engine

    def create(self, space: Space, key_id: UUID, name: str, hash: bytes, scopes: Sequence[Scope]) -> ApiKey:
        """Store a new key of a space, by the hash of its secret."""
        with transaction(self._engine, "making an API key", BRIEF) as connection:
            row = {"space_id": space.space_id, "key_id": key_id, "name": name, "hash": hash, "scopes": list(scopes)}
            connection.execute(insert(api_keys).values(**row, created_at=leases.now(connection)))
            told = {"key": str(key_id), "name": name, "scopes": list(scopes)}
            acts.note(driver_connection(connection), space.space_id, "key created", told)
            return _keys(connection, space.space_id, key_id)[0]

    def find(self, space_id: int, key_id: UUID) -> ApiKey | None:
        """Return a key with its hash, revoked or not; ``DatabaseUnavailable`` if that takes longer than seconds."""
        with prompt(self._engine, "looking for an API key") as connection:
            return next(iter(_keys(connection, space_id, key_id)), None)

    def listing(self, space: Space) -> list[ApiKey]:
        """Return the keys of a space, oldest first."""
        with reading(self._engine, "listing API keys", BRIEF) as connection:
            return _keys(connection, space.space_id, None)

    def any_live(self) -> bool:
        """Whether any space has a key that is not revoked."""
        with reading(self._engine, "looking for API keys", BRIEF) as connection:
            live = select(api_keys.c.key_id).where(api_keys.c.revoked_at.is_(None)).limit(1)
            return connection.scalar(live) is not None

    def revoke(self, space: Space, key_id: UUID) -> bool:
        """Revoke a key; return False if there is no such live key."""
        of_key = (api_keys.c.space_id == space.space_id, api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
        with transaction(self._engine, "revoking an API key", BRIEF) as connection:
            at = leases.now(connection)
            revoked = connection.execute(update(api_keys).where(*of_key).values(revoked_at=at)).rowcount == 1
            if revoked:
                acts.note(driver_connection(connection), space.space_id, "key revoked", {"key": str(key_id)})
            return revoked

    def claim_request(self, space_id: int, key: str, fingerprint: bytes) -> AnsweredRequest | ClaimedRequest:
        """Return the request that has this key already, or claim it: it is new, or no one is answering it now."""
        of_key = (idempotent_requests.c.space_id == space_id, idempotent_requests.c.key == key)
        with transaction(self._engine, "looking for an earlier request", BRIEF) as connection:
            at = leases.now(connection)
            # Until there is an answer, its column holds the time of the claim.
            claim = {"fingerprint": fingerprint, "media_type": None, "answer": at.isoformat().encode()}
            row = {"space_id": space_id, "key": key, "recorded_at": at, **claim}
            made = insert_once(idempotent_requests).values(**row).on_conflict_do_nothing()
            if connection.execute(made.returning(idempotent_requests.c.key)).first() is not None:
                return ClaimedRequest(at)
            found = connection.execute(select(idempotent_requests).where(*of_key).with_for_update()).one()
            if found.status is None:
                claimed_at = datetime.fromisoformat(found.answer.decode()) if found.answer else found.recorded_at
                if found.media_type == RELEASED or claimed_at < at - GIVEN_UP:
                    connection.execute(update(idempotent_requests).where(*of_key).values(**claim))
                    return ClaimedRequest(found.recorded_at)
            return AnsweredRequest(bytes(found.fingerprint), found.status, found.media_type, found.answer)

    def answer_request(self, space_id: int, key: str, status: int, media_type: str, answer: bytes) -> None:
        """Remember the answer to a request that ``claim_request`` gave to the caller."""
        of_key = (idempotent_requests.c.space_id == space_id, idempotent_requests.c.key == key)
        values = {"status": status, "media_type": media_type, "answer": answer}
        with transaction(self._engine, "remembering an answer", BRIEF) as connection:
            connection.execute(update(idempotent_requests).where(*of_key).values(**values))

    def release_request(self, space_id: int, key: str) -> None:
        """Let a request that failed be sent again; the time at which it came first stays."""
        of_key = (idempotent_requests.c.space_id == space_id, idempotent_requests.c.key == key)
        unanswered = idempotent_requests.c.status.is_(None)
        with transaction(self._engine, "releasing a request", BRIEF) as connection:
            connection.execute(update(idempotent_requests).where(*of_key, unanswered).values(media_type=RELEASED))


def _keys(connection: Connection, space_id: int, key_id: UUID | None) -> list[ApiKey]:
    asked = select(*KEY).join(spaces, spaces.c.space_id == api_keys.c.space_id).where(api_keys.c.space_id == space_id)
    if key_id is not None:
        asked = asked.where(api_keys.c.key_id == key_id)
    return [_key(*row) for row in connection.execute(asked.order_by(api_keys.c.created_at, api_keys.c.key_id))]


def _key(
    space_id: int, key_id: UUID, name: str, hash: bytes, scopes: list[Scope], created_at: datetime,
    revoked_at: datetime | None, space: str, dim: int,
) -> ApiKey:  # fmt: skip
    return ApiKey(space_id, space, dim, key_id, name, frozenset(scopes), created_at, revoked_at, bytes(hash))
