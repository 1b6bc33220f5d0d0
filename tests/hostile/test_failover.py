"""Four servers record while the primary is killed and its standby promoted: a short run of `tests.chaos`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_failover_while_four_servers_record_loses_nothing_flushed_and_doubles_nothing() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--failover", "--minutes", "0.05", "--only", "failover"]
    done = subprocess.run([*command, "--seed", "1"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing acknowledged is missing, nothing is doubled" in done.stdout
    assert " 1 kills of the primary" in done.stdout
