"""Packages of frameworks: present where `make test-frameworks` has installed them."""

from __future__ import annotations

import os
from importlib.util import find_spec

import numpy as np
import pytest

from sona_pg import LoopConfig, MaintenanceConfig, SonaConfig
from sona_pg.text import CallableEmbedder

DIM = 16
QUIET = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))


def require(package: str) -> None:
    """Skip a module whose package is missing; with REQUIRE_FRAMEWORKS=1 that is an error."""
    parents = package.split(".")
    found = all(find_spec(".".join(parents[:depth])) for depth in range(1, len(parents) + 1))
    if not found and os.environ.get("REQUIRE_FRAMEWORKS") != "1":
        pytest.skip(f"{package} is not installed here: `make test-frameworks`", allow_module_level=True)


def words(texts: list[str]) -> np.ndarray:
    """Embed texts by their words; one without any is all 0."""
    rows = np.zeros((len(texts), DIM), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in "".join(letter if letter.isalnum() else " " for letter in text.lower()).split():
            row += np.random.default_rng(sum(map(ord, word))).standard_normal(DIM)
    return rows


EMBEDDER = CallableEmbedder(words, DIM)
