"""Transactions of maintenance: without a time limit, or brief where recorders would queue behind a lock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg

ATTEMPTS = 4
BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
PATIENT = "SET LOCAL statement_timeout = 0"
BRIEF = "SET LOCAL lock_timeout = '500ms'"

T = TypeVar("T")


@contextmanager
def patiently(raw: psycopg.Connection[Any]) -> Iterator[None]:
    """Open a transaction without ``statement_timeout``."""
    with raw.transaction():
        raw.execute(PATIENT)
        yield


def briefly(work: psycopg.Connection[Any], change: Callable[[], T]) -> tuple[T | None, str]:
    """Make a change that needs exclusive locks; return its result, or the reason why it failed for now."""
    reason = ""
    for attempt in range(ATTEMPTS):
        try:
            with work.transaction():
                work.execute(BRIEF)
                work.execute(PATIENT)
                return change(), ""
        except BUSY as exc:
            reason = f"{exc.diag.message_primary}; the next run tries again"
            time.sleep(0.1 * attempt)  # back off: other sessions queue behind our lock request
    return None, reason
