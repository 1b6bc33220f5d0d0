"""The limits are in one module; copies of them elsewhere agree."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sona_pg import limits
from sona_pg.errors import InvalidValue
from sona_pg.recorder import Adapter

ROOT = Path(__file__).parent.parent
COMPILED = "\n".join(
    path.read_text()
    for pattern in ("*/*.pyx", "*/*.pxi", "*/recorder.h", "*/sona_kernels.h")
    for path in sorted((ROOT / "cython_ext").glob(pattern))
)
CHECKS = "\n".join(path.read_text() for path in sorted((ROOT / "migrations" / "versions").glob("v*.py")))


@pytest.mark.parametrize(
    ("constant", "limit"),
    [
        ("SONA_MAX_VECTOR", limits.MAX_DIM),
        ("SONA_MAX_RANK", limits.MAX_RANK),
        ("SONA_MAX_STEPS", limits.MAX_STEPS),
        ("MAX_RECORD", limits.MAX_RECORD),
        ("MAX_FEATURES", limits.MAX_FEATURES),
        ("MAX_NAME", limits.LONGEST_ID),
        ("MAX_LABEL", limits.LONGEST_LABEL),
        ("MAX_QUERY", limits.LONGEST_QUERY),
        ("MAX_PARAMETERS", limits.MAX_PARAMETERS),
        ("MAX_PARAMETER_NAME", limits.LONGEST_PARAMETER_NAME),
    ],
)
def test_a_constant_of_the_compiled_modules_equals_its_limit(constant: str, limit: int) -> None:
    found = re.findall(rf"\b{constant} = ((?:\d|<<| )+)", COMPILED)
    assert [_number(text) for text in found] == [limit]


def test_the_compiled_checks_name_the_same_numbers() -> None:
    assert f"within ±{limits.MAX_HALF:.0f}" in COMPILED
    assert f"within ±{limits.MAX_PARAMETER:g}".replace("+", "") in COMPILED
    assert set(re.findall(r"1 <= column\[2\] <= (\d+)", COMPILED)) == {str(limits.MAX_DIM)}


def test_the_checks_of_the_schema_name_the_same_dimensions() -> None:
    bounds = re.findall(r"(?:dim|vector_dims\(\w+\)) BETWEEN 1 AND (\d+)", CHECKS)
    assert set(bounds) == {str(limits.MAX_DIM)}


def test_an_adapter_of_more_rank_than_the_kernel_holds_is_refused() -> None:
    factors = np.zeros((limits.MAX_RANK + 1, 8), np.float32)
    with pytest.raises(InvalidValue, match="rank 17, expected 1 to 16"):
        Adapter(factors, factors)


def _number(text: str) -> int:
    number, _, shift = text.partition("<<")
    return int(number) << int(shift or 0)
