"""Sessions that may go on in the next slice: the end of each, for a bounded number of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import UNKNOWN
from sona_pg.domain.state import Arrays

MOST = 1024  # sessions kept, the latest
LONGEST_PAUSE = 1.0  # days after which a session has ended
RECENT = 4  # candidates used last in a session, which the next one used is joined to


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """End of one session."""

    at: float  # days
    pattern: bytes  # id of the pattern of its last trajectory; empty without one
    question: bytes  # digest of the embedding of its last trajectory
    used: tuple[int, ...]  # slots of the candidates used last, the latest last
    last_used: int = UNKNOWN  # slot of the candidate that its last trajectory used


def key_of(session: str) -> bytes:
    """Return the 16 bytes by which a session is kept."""
    return hashlib.blake2b(session.encode(), digest_size=16).digest()


def digest_of(embedding: NDArray[np.float32]) -> bytes:
    """Return the 8 bytes by which an equal question is recognised."""
    return hashlib.blake2b(embedding.tobytes(), digest_size=8).digest()


def sessions_from(arrays: Arrays) -> dict[bytes, SessionEnd]:
    """Restore from ``sessions_to``."""
    return {
        key.tobytes(): SessionEnd(
            at,
            pattern.tobytes() if pattern.any() else b"",
            question.tobytes(),
            tuple(slot for slot in used if slot != UNKNOWN),
            last,
        )
        for key, at, pattern, question, used, last in zip(
            np.asarray(arrays["keys"]),
            np.asarray(arrays["at"]).tolist(),
            np.asarray(arrays["patterns"]),
            np.asarray(arrays["questions"]),
            np.asarray(arrays["used"]).tolist(),
            np.asarray(arrays["last_used"]).tolist(),
            strict=True,
        )
    }


def sessions_to(ends: dict[bytes, SessionEnd], now: float) -> dict[str, NDArray[np.generic]]:
    """Return the ends of the sessions that may go on at ``now`` as named arrays, in the order of their keys."""
    going = [key for key in sorted(ends) if now - ends[key].at <= LONGEST_PAUSE]
    if len(going) > MOST:
        latest = sorted(going, key=lambda key: (-ends[key].at, key))[:MOST]
        going = sorted(latest)
    kept = [ends[key] for key in going]
    used = np.full((len(kept), RECENT), UNKNOWN, np.int32)
    for row, end in enumerate(kept):
        used[row, : len(end.used)] = end.used
    return {
        "keys": _bytes([*going], 16),
        "at": np.array([end.at for end in kept], np.float64),
        "patterns": _bytes([end.pattern or bytes(16) for end in kept], 16),
        "questions": _bytes([end.question for end in kept], 8),
        "used": used,
        "last_used": np.array([end.last_used for end in kept], np.int32),
    }


def _bytes(rows: list[bytes], width: int) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, width)
