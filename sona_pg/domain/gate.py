"""The gate of a version: how it is compared with the version before it, and the judgement."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

Judgement = Literal["open", "accepted", "promoted", "rejected", "rolled back", "undecided", "ended"]


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of one version; see ``sona.gates``."""

    version: int
    mode: Literal["watch", "hold"]
    reference: int  # the version it is compared with: live before it
    judgement: Judgement
    decisions: int  # judged decisions that tell a difference
    differing: int  # those that the two versions would have answered differently
    difference: float | None  # mean quality of the version less that of the reference
    low: float | None  # bounds of it, each valid with ``confidence`` at any time
    high: float | None
    margin: float
    confidence: float
    most_decisions: int  # after which it ends undecided
    reason: str | None
    opened_at: datetime
    looked_at: datetime  # facts recorded up to then are counted
    closed_at: datetime | None  # None: still judging
    share: float | None = None  # of the servers, that serve the candidate meanwhile; None: nobody does

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        times = {"opened_at": self.opened_at, "looked_at": self.looked_at, "closed_at": self.closed_at}
        return dataclasses.asdict(self) | {name: at and at.isoformat() for name, at in times.items()}


@dataclass(frozen=True, slots=True)
class Canary:
    """A candidate version that a share of the servers serves while it is judged."""

    version: int
    share: float

    def is_served_by(self, server_id: UUID) -> bool:
        """Whether a server is one of the canaries: by a hash of its id, so that nobody assigns them."""
        told = hashlib.blake2b(server_id.bytes + self.version.to_bytes(8, "big"), digest_size=8).digest()
        return int.from_bytes(told, "big") < self.share * 2**64


def version_for(server_id: UUID, live: int, canary: Canary | None) -> int:
    """Return the version that a server should serve."""
    return canary.version if canary is not None and canary.is_served_by(server_id) else live


@dataclass(frozen=True, slots=True)
class OpenGate:
    """A gate that is still judging, with its evidence so far."""

    space_id: int
    figures: Gate
    looked_batch: int
    evidence: Mapping[str, Any]  # empty before the first decision

    @property
    def is_watch(self) -> bool:
        """Whether the version is live already."""
        return self.figures.mode == "watch"
