"""Erasure: whose data is removed, what that takes, and the signed receipt."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

SubjectKind = Literal["user", "session", "trajectories"]
ALGORITHM = "HMAC-SHA256"
# Stated in each receipt.
NOT_REACHED = (
    "ids and embeddings of candidates, and their contents unless they were dropped",
    "counts: lifetime counters, spending, how often a pattern was found",
    "backups, dumps, archives, exported files, and files of save",
)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose data: the trajectories that carry a label, or single ones by their ids."""

    kind: SubjectKind
    label: str | None = None  # ``user:…`` or ``session:…``
    ids: tuple[UUID, ...] = ()  # of single trajectories

    @property
    def names(self) -> tuple[str, ...]:
        """Return the labels, or the ids as text, that a record of the subject carries."""
        return tuple(str(id_) for id_ in self.ids) if self.label is None else (self.label,)

    def hashes(self, erasure_id: UUID) -> bytes:
        """Return the salted hashes of the names, 32 bytes each: they name nobody."""
        return b"".join(hash_of(erasure_id, name) for name in self.names)

    def is_of(self, erasure_id: UUID, hashes: bytes) -> bool:
        """Whether an erasure with these hashes was of this subject."""
        return self.hashes(erasure_id) == hashes


def hash_of(erasure_id: UUID, name: str) -> bytes:
    """Return SHA-256 of the erasure's id, which is the salt, and a label or an id."""
    return hashlib.sha256(erasure_id.bytes + name.encode(errors="surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class ErasurePlan:
    """Rows that an erasure would remove, and versions that it would drop."""

    trajectories: int
    steps: int
    feedback: int
    first_version: int | None  # the first that has learned from them; None: none has
    versions: tuple[int, ...]  # kept ones that may hold their influence, dropped by the erasure
    expired: int  # learned trajectories that retention has removed from the ledger
    # Candidates that the subject has probably written, by a cautious guess: told by it as the right answer, stored
    # since, and known to nobody else.
    candidates: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return dataclasses.asdict(self) | {"versions": list(self.versions), "candidates": list(self.candidates)}


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure, as the store has it."""

    id: UUID
    kind: SubjectKind
    hashes: bytes
    until_id: UUID
    first_version: int
    phase: Literal["removed", "done"]
    requested_at: datetime
    finished_at: datetime | None
    removed: Mapping[str, int]
    late: int
    receipt: Mapping[str, Any] | None

    @property
    def found_nothing(self) -> bool:
        """Return whether no row of the subject was in the ledger."""
        return not any(self.removed.values())

    def covers(self, id: UUID, labels: list[str] | None) -> bool:
        """Whether a record that arrives late is of the subject: by its labels, or by its id."""
        if id >= self.until_id:
            return False
        names, known = [str(id)] if self.kind == "trajectories" else labels or [], self.known
        return any(hash_of(self.id, name) in known for name in names)

    @property
    def known(self) -> frozenset[bytes]:
        """Return the hashes, each by itself."""
        return frozenset(self.hashes[start : start + 32] for start in range(0, len(self.hashes), 32))


@dataclass(frozen=True, slots=True)
class Key:
    """The operator's key for receipts."""

    secret: bytes

    @property
    def name(self) -> str:
        """Return a name of the key that tells nothing of its secret."""
        return hashlib.sha256(b"sona-pg receipt key" + self.secret).hexdigest()[:16]

    def signature(self, told: Mapping[str, Any]) -> str:
        """Return the HMAC-SHA256 of a receipt, in hexadecimal."""
        return hmac.new(self.secret, _canonical(told), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Receipt:
    """Receipt of an erasure: facts, and a signature over them."""

    facts: Mapping[str, Any]
    signature: Mapping[str, str]

    @classmethod
    def signed(cls, facts: Mapping[str, Any], key: Key) -> Self:
        """Sign the facts."""
        told = json.loads(_canonical(facts))  # as it will be read again
        return cls(told, {"algorithm": ALGORITHM, "key": key.name, "value": key.signature(told)})

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """Read a receipt as ``as_dict`` told it; KeyError or TypeError if it is none."""
        facts = {name: value for name, value in told.items() if name != "signature"}
        return cls(facts, dict(told["signature"]))

    def is_signed_with(self, key: Key) -> bool:
        """Whether the facts are those that were signed with ``key``."""
        value = self.signature.get("value", "")
        return self.signature.get("algorithm") == ALGORITHM and hmac.compare_digest(value, key.signature(self.facts))

    def as_dict(self) -> dict[str, Any]:
        """Return the facts with the signature beside them."""
        return {**self.facts, "signature": dict(self.signature)}


def _canonical(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str).encode()
