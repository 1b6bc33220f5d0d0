"""A wall clock set by a test, for programs that it starts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

FalseClock = Callable[[int], dict[str, str]]

# Preloaded before the C library: the wall clock is read from a file, in seconds since 1970.
CLOCK = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *at)
{
    if (clock != CLOCK_REALTIME)
        return (int)syscall(SYS_clock_gettime, clock, at);
    FILE *file = fopen(getenv("SHOWS"), "r");
    if (file == NULL || fscanf(file, "%ld", &at->tv_sec) != 1)
        abort();
    fclose(file);
    at->tv_nsec = 0;
    return 0;
}
"""


@pytest.fixture
def false_clock(tmp_path: Path) -> FalseClock:
    """Return a function that makes the environment of a program with a given clock, in seconds since 1970."""
    if shutil.which("gcc") is None:
        pytest.skip("GCC IS NOT INSTALLED: clocks are not tested")
    (tmp_path / "clock.c").write_text(CLOCK)
    library, shown = tmp_path / "clock.so", tmp_path / "shows"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "clock.c"], check=True)

    def shows(seconds: int) -> dict[str, str]:
        shown.write_text(str(seconds))
        return {"LD_PRELOAD": str(library), "SHOWS": str(shown)}

    return shows
