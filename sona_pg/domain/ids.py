"""UUIDv7 identifiers, made by the client: time-ordered and recordable while the database is down."""

from __future__ import annotations

import os
import time
import uuid
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def uuid7(milliseconds: int | None = None) -> uuid.UUID:
    """Return a UUIDv7 (RFC 9562, section 5.7) of now, or of ``milliseconds`` since the Unix epoch."""
    at = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
    value = (at << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return uuid.UUID(int=value)


def made_at(id: uuid.UUID) -> datetime:
    """Return the time of a UUIDv7, to the millisecond; other ids are read as if they were UUIDv7."""
    try:
        return EPOCH + timedelta(milliseconds=id.int >> 80)
    except OverflowError:  # 48 bits of milliseconds reach past the year 9999
        return datetime.max.replace(tzinfo=UTC)
