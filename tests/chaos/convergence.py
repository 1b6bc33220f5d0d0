"""Waits until every living server serves the live version of the space."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg

from .crew import Member
from .process import HUSH

PATIENCE = 60.0  # seconds
SERVING = """
SELECT v.pid, v.serving_version, s.live_version FROM sona.servers v JOIN sona.spaces s USING (space_id)
WHERE v.ended_at IS NULL ORDER BY v.started_at
"""


def converge(url: str, folder: Path, crew: list[Member]) -> list[str]:
    """Have nobody record any more; return the servers that do not serve the live version in time."""
    Path(folder, HUSH).touch()
    deadline = time.monotonic() + PATIENCE
    while True:
        apart = _apart(url, crew)
        if apart and time.monotonic() > deadline:
            for member in crew:
                member.show_threads()
            time.sleep(1.0)
        if not apart or time.monotonic() > deadline:
            return apart
        time.sleep(0.1)


def _apart(url: str, crew: list[Member]) -> list[str]:
    living = {pid: member.spec.name for member in crew for pid in member.pids}
    with psycopg.connect(url) as connection:
        rows = connection.execute(SERVING).fetchall()
    serving = {pid: (version, live) for pid, version, live in rows if pid in living}  # the newest engine of a process
    missing = [name for pid, name in living.items() if pid not in serving and name.startswith(("sync", "spool"))]
    return [f"{name} is not listed" for name in missing] + [
        f"{living[pid]} serves version {version} of {live}"
        for pid, (version, live) in serving.items()
        if version != live
    ]
