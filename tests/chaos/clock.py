"""Wall clocks that are wrong: a library preloaded into a process adds to its CLOCK_REALTIME; monotonic time stays.

Debian's libfaketime (0.9.10) was tried first: with the monotonic clock left alone, `time.sleep` of Python 3.11 fails
with EINVAL in it, and a process that is killed leaves its segments in /dev/shm. The offset is in a file that the
library maps, so a clock can be stepped while its process runs. Linux only, and it takes a C compiler.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *offset; /* seconds */

__attribute__((constructor)) static void map_offset(void)
{
    const char *path = getenv("CHAOS_CLOCK");
    const int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED)
        abort();
    close(file);
    offset = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    const int failed = (int)syscall(SYS_clock_gettime, clock, t);
    if (!failed && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        t->tv_sec += *offset;
    return failed;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *t)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return t ? *t = now.tv_sec : now.tv_sec;
}
"""


def missing() -> str:
    """Return why clocks cannot be set, or nothing."""
    if sys.platform != "linux":
        return "clocks are set by preloading a library, which is written for Linux"
    return "" if shutil.which("cc") else "there is no C compiler (cc)"


def build(folder: Path) -> Path:
    """Compile the library into ``folder``."""
    library = folder / "clock.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-x", "c", "-", "-o", str(library)]
    subprocess.run(command, input=SOURCE, text=True, check=True, capture_output=True)
    return library


class Clock:
    """The wall clock of the processes that are started with ``environment``."""

    def __init__(self, folder: Path, name: str, library: Path, seconds: int) -> None:
        """Put it ``seconds`` ahead, or behind if that is negative."""
        self._file = folder / f"{name}.clock"
        self._file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(self._file)}
        self.set(seconds)

    def set(self, seconds: int) -> None:
        """Step it."""
        with self._file.open("r+b") as file:
            file.write(seconds.to_bytes(8, "little", signed=True))
