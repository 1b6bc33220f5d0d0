"""Access of HTTP callers: API keys with their scopes, and requests that may come twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

Scope = Literal["record", "read", "learn", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of one space; its secret is known to nobody but its holder."""

    space_id: int
    space: str  # the name of the space
    dim: int
    key_id: UUID
    name: str  # of the holder: the source of the feedback that comes with this key
    scopes: frozenset[Scope]
    created_at: datetime
    revoked_at: datetime | None
    hash: bytes = field(repr=False, default=b"")  # SHA-256 of the secret

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values, without the hash."""
        return {
            "key_id": str(self.key_id),
            "space": self.space,
            "name": self.name,
            "scopes": [scope for scope in SCOPES if scope in self.scopes],
            "created_at": self.created_at.isoformat(),
            "revoked_at": None if self.revoked_at is None else self.revoked_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """A request with an idempotency key that has come before."""

    fingerprint: bytes  # SHA-256 of what was asked
    status: int | None  # None: it is being answered
    media_type: str | None
    answer: bytes | None


@dataclass(frozen=True, slots=True)
class ClaimedRequest:
    """A request with an idempotency key that is the caller's to answer."""

    first: datetime  # the database's time at which it came first: its repetitions make records of the same ids
