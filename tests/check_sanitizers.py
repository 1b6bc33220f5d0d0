"""The tests of kernels and recorder under AddressSanitizer and UBSan: `python tests/check_sanitizers.py`.

The extensions are built into a folder of their own, and every test, its subprocesses included, imports them from there.
Postgres runs without the sanitizers. ThreadSanitizer needs an interpreter built with it, because it would not recognise
CPython's own locks; the recorder's use of several threads is checked without Python by `check_memory.sh`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from fix_homes import temporary_home

from sona_pg.store.admin.embedded import start_embedded

ROOT = Path(__file__).parents[1]
FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=all"
# Chaos starts servers of its own, which would inherit the sanitizers.
TESTS = ["tests/kernels", "tests/ingest", "--ignore=tests/ingest/test_chaos.py"]
CHECK = """
import sys
from sona_pg import _kernels, _recorder
assert all(sys.argv[1] in module.__file__ for module in (_kernels, _recorder))
"""


def runtime(name: str) -> str:
    """The path of a sanitizer's library; gcc prints the bare name of one it does not have."""
    asked = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    path = asked.stdout.strip()
    if "/" not in path:
        sys.exit(f"check_sanitizers: gcc has no {name}")
    return path


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="sona-pg-sanitizers-") as name:
        library = Path(name) / "lib"
        subprocess.run(
            [sys.executable, "-W", "ignore", "setup.py", "-q", "build", "--build-base", name, "--build-lib", library],
            env=os.environ | {"CFLAGS": f"-g -O1 {FLAGS}", "LDFLAGS": FLAGS},
            cwd=ROOT,
            check=True,
        )  # fmt: skip
        with temporary_home() as home, start_embedded(home) as server:
            environment = os.environ | {
                "LD_PRELOAD": f"{runtime('libasan.so')} {runtime('libubsan.so')}",
                "ASAN_OPTIONS": "detect_leaks=0",  # CPython frees nothing at its end
                "UBSAN_OPTIONS": "print_stacktrace=1",
                "PYTHONMALLOC": "malloc",  # else small objects share blocks that the sanitizer takes for one
                "PYTHONPATH": str(library),
                "PYTHONSAFEPATH": "1",  # not the checkout's own
                "SONA_PG_TEST_URL": server.url,
            }
            python = [sys.executable, "-c", CHECK, str(library)]
            subprocess.run(python, env=environment, cwd=ROOT, check=True)
            tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not docker", *TESTS]
            return subprocess.run([*tests, *sys.argv[1:]], env=environment, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
