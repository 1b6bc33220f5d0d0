"""Which instruction set is chosen, and how it is forced."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sona_pg import kernels
from sona_pg.errors import ConfigError


def run(isa: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from sona_pg import kernels; print(kernels.isa())"],
        env=os.environ | {"SONA_PG_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd="/",  # not a checkout whose package would be found first
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", kernels.available_isas())
def test_the_environment_forces_an_instruction_set(name: str) -> None:
    assert run(name).stdout.strip() == name


def test_unset_or_empty_takes_the_best() -> None:
    assert run("").stdout.strip() == kernels.available_isas()[0]


def test_an_unusable_instruction_set_is_an_error_that_lists_the_usable_ones() -> None:
    unusable = "neon" if "neon" not in kernels.available_isas() else "avx2"
    for name in (unusable, "sse9"):
        result = run(name)
        assert result.returncode != 0
        assert f"SONA_PG_ISA is '{name}'" in result.stderr
        assert "tried avx512, avx2, neon, scalar" in result.stderr
        assert f"offer {', '.join(kernels.available_isas())}" in result.stderr


def test_scalar_is_always_there_and_last() -> None:
    assert kernels.available_isas()[-1] == "scalar"


def test_the_testing_hook_switches_in_process() -> None:
    before = kernels.isa()
    kernels.use_isa("scalar")
    assert kernels.isa() == "scalar"
    with pytest.raises(ConfigError, match="tried"):
        kernels.use_isa("mmx")
    assert kernels.isa() == "scalar"
    kernels.use_isa(before)
