"""Contents of candidates: the text or document behind an id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class StoredContent:
    """The content of one candidate."""

    id: str
    content: Mapping[str, Any]  # JSON
    created_at: datetime
    updated_at: datetime
