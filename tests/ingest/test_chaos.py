"""A short run of `python -m tests.chaos`: Postgres is crashed while four processes record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHAOS = Path(__file__).parents[1] / "chaos" / "__main__.py"


def test_crashes_of_postgres_lose_nothing_acknowledged_and_double_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(CHAOS), "--minutes", "0.15", "--seed", "1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing acknowledged is missing, nothing is doubled" in done.stdout
    assert "0 crashes" not in done.stdout
