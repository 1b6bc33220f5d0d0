"""Tests decide alike on every machine: decisions draw the same numbers each time, and evidence counts at once."""

from __future__ import annotations

import math
import sys
from importlib.util import find_spec
from itertools import count

import numpy as np
import pytest

from sona_pg.serving import route_chooser, uptake

if find_spec("hypothesis") is not None:  # the environment of tests/frameworks has none
    from hypothesis import settings

    settings.register_profile("same draws in every run", derandomize=True, database=None, deadline=None)
    settings.load_profile("same draws in every run")


@pytest.fixture(autouse=True)
def _no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines without a seed draw what they drew the last time, each its own; no machine is too slow for evidence."""
    seeds = count(1)
    monkeypatch.setattr(route_chooser, "draws", lambda seed: np.random.default_rng(seed or [next(seeds), 17]))
    monkeypatch.setattr(uptake, "AT_ONCE", math.inf)
    monkeypatch.setattr(uptake, "HEARD_AT_ONCE", sys.maxsize)
    monkeypatch.setattr(uptake, "TOLD_AT_ONCE", sys.maxsize)
