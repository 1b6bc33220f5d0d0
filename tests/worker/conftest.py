"""An engine whose space forgets people, and the key of its receipts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_erasure import CONFIG, DIM

from sona_pg import SonaEngine

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "receipt.key"
    path.write_text(KEY)
    return path


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, "kept", config=CONFIG) as opened:
        yield opened
