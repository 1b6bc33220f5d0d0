"""An engine whose embedder needs no model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fix_frameworks import DIM, EMBEDDER, QUIET

from sona_pg import SonaEngine


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=QUIET, embedder=EMBEDDER) as opened:
        yield opened
