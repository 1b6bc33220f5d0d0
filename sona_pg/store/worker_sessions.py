"""Workers by their sessions: a worker names its connections, so that others can list it without a table of workers."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg

PREFIX = "sona-pg worker "
LONGEST = 63  # bytes of a name that Postgres keeps
# A worker asks for the list of spaces every five seconds; a pooler keeps the sessions of one that died, with its name.
# The times of other roles' sessions are hidden from one without pg_read_all_stats.
WORKERS = """
SELECT substr(application_name, %(skip)s), min(backend_start) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE %(like)s
GROUP BY 1
HAVING bool_or(state IS NULL OR state <> 'idle' OR state_change > clock_timestamp() - %(silence)s::interval)
ORDER BY 2, 1
"""
SILENCE = timedelta(seconds=30)  # of all sessions of a worker, after which it has ended


class WorkerSession(NamedTuple):
    """A worker that is connected to the store."""

    worker: str  # its host and process id
    connected_since: datetime | None  # of its oldest connection; None: hidden from this role


def own_name() -> str:
    """Return the name for the connections of a worker in this process."""
    end = f":{os.getpid()}"
    return PREFIX + socket.gethostname()[: LONGEST - len(PREFIX) - len(end)] + end


def connected_workers(raw: psycopg.Connection[Any]) -> list[WorkerSession]:
    """Return the workers that are connected to this database, the one that came first at first.

    Behind a transaction pooler some may lack: another client that uses a worker's session gives it its own name.
    """
    asked = {"skip": len(PREFIX) + 1, "like": f"{PREFIX}%", "silence": SILENCE}
    return [WorkerSession(worker, since) for worker, since in raw.execute(WORKERS, asked)]
