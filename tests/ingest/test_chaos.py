"""A short run of `python -m tests.chaos`: everything goes wrong while three processes record and one of them learns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_crash_a_spell_and_a_kill_lose_nothing_acknowledged_and_double_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--minutes", "0.15", "--seed", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing acknowledged is missing, nothing is doubled" in done.stdout
    assert " 0 crashes of Postgres" not in done.stdout
    assert "equal to the live state" in done.stdout
