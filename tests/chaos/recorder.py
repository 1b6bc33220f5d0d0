"""A process that records until SIGTERM and says each id once its durability level has acknowledged it.

argv: durability, url, home, server id, space, dimension.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
import uuid
from pathlib import Path

import numpy as np

from sona_pg.config import IngestConfig
from sona_pg.errors import DatabaseUnavailable
from sona_pg.ingest import Writer
from sona_pg.kernels import HotPath
from sona_pg.store.connect import connect

BURST = 200  # trajectories between two flushes, or between two pauses
LAST_FLUSH = 60.0  # seconds


def main() -> None:
    level, url, home, server_id, space, dim = sys.argv[1:]
    logging.basicConfig(level=logging.ERROR)
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    say(["ready"])
    hot = HotPath(int(dim), 10_000, 64 << 20)
    writer = open_writer(level, url, hot, uuid.UUID(server_id), int(space), Path(home))
    embedding = np.full(int(dim), 0.5, np.float32)
    while not stopping:
        waiting = []
        for _ in range(BURST if level != "sync" else 1):
            trajectory = hot.begin_trajectory(embedding)
            hot.add_step(trajectory, embedding, None, 0.5)
            try:
                hot.end_trajectory(trajectory, 0.5)
            except DatabaseUnavailable:
                continue  # not acknowledged
            waiting.append(str(trajectory.id))
        if level == "memory" and not flushed(writer, stopping):
            break
        say(waiting)
        time.sleep(0.001 if level == "sync" else 0.01)
    writer.flush(LAST_FLUSH)
    writer.close()


def open_writer(level: str, url: str, hot: HotPath, server_id: uuid.UUID, space: int, home: Path) -> Writer:
    """Open it; a spool asks the database which space this is, and the database may be away."""
    while True:
        try:
            return Writer(
                hot,
                connect(url),
                space_id=space,
                server_id=server_id,
                config=IngestConfig(durability=level, flush_interval=0.02),  # type: ignore[arg-type]
                home=home,
                stall_timeout=20.0,
            )
        except DatabaseUnavailable:
            time.sleep(0.1)


def flushed(writer: Writer, stopping: list[int]) -> bool:
    while not stopping:
        try:
            writer.flush(1.0)
        except DatabaseUnavailable:
            continue
        return True
    return False


def say(ids: list[str]) -> None:
    sys.stdout.write("".join(f"{name}\n" for name in ids))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
