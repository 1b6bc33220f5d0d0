"""docs/memory-graph.md is true: its code runs, and its queries answer from a space that has dreamt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

from sona_pg import SonaEngine
from tests.worker.test_deep_loop import CONFIG, DIM, learn

TEXT = (Path(__file__).parent.parent / "docs" / "memory-graph.md").read_text()
QUERIES = re.findall(r"^```sql\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        learn(opened, 1)
        yield opened


def test_every_block_runs_and_answers(engine: SonaEngine, database_url: str) -> None:
    names = {"engine": engine, "embeddings": np.random.default_rng(2).standard_normal((2, DIM)).astype(np.float32)}
    for block in BLOCKS:
        exec(block, names)
    assert engine.metrics()["version"] == 2
    with psycopg.connect(database_url) as connection:
        for query in QUERIES:
            rows = connection.execute(query).fetchall()  # type: ignore[call-overload]
            assert rows, query
