"""Hold of a learner's lease: taken at once or waited for, and renewed from a thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine

from sona_pg.domain.space import Space
from sona_pg.errors import DatabaseError
from sona_pg.store import leases
from sona_pg.store.deadlines import deadlines
from sona_pg.store.transactions import transaction

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=10)  # a dead learner blocks its space for this long
RENEW_EVERY = 3.0  # seconds
POLL_EVERY = 0.05  # seconds between checks for the end of another learner


def take(engine: Engine, space: Space, server_id: UUID, wait: bool) -> leases.Lease | None:
    """Return the lease of a space; None if another learner has it, unless ``wait``."""
    while True:
        with transaction(engine, f"learning in space {space.name!r}") as connection:
            lease = leases.take(connection, space.space_id, server_id, LEASE)
        if lease is not None or not wait:
            return lease
        time.sleep(POLL_EVERY)


@contextmanager
def renewed(engine: Engine, lease: leases.Lease) -> Iterator[None]:
    """Renew a lease while the block runs; most cycles are over before it is due, and need no thread."""
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            try:
                with transaction(engine, "renewing the learner's lease") as connection:
                    leases.renew(connection, lease, LEASE)
            except DatabaseError as exc:  # publishing raises if it was lost
                log.info("%s", exc)
            done.wait(RENEW_EVERY)

    thread = threading.Thread(target=run, name="sona-pg lease", daemon=True)
    try:
        with deadlines.after(RENEW_EVERY, thread.start):
            yield
    finally:
        done.set()
        if thread.ident is not None:
            thread.join()
