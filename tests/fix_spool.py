"""A process that records into a spool until it is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

from fix_ingest import DIM, SPACE, Space
from fix_proxy import Proxy

# Records for ever into a spool and says each id when it is acknowledged; argv: url, home, server id, space, dim.
RECORDER = """
import sys, uuid
from pathlib import Path
import numpy as np
from sona_pg.config import IngestConfig
from sona_pg.ingest import Writer, WriterRequest
from sona_pg.recorder import HotPath
from sona_pg.store.connect import connect
url, home, server, space, dim = sys.argv[1:]
hot = HotPath(int(dim), 100, 1 << 20)
Writer(hot, connect(url), WriterRequest(space_id=int(space), server_id=uuid.UUID(server),
       config=IngestConfig(durability="spool", flush_interval=0.005), home=Path(home)))
embedding = np.full(int(dim), 0.5, np.float32)
print("ready", flush=True)
while True:
    trajectory = hot.begin_trajectory(embedding)
    hot.add_step(trajectory, embedding, None, 0.5)
    hot.end_trajectory(trajectory, 0.5)
    hot.record_feedback(trajectory, quality=0.25)
    sys.stdout.write(f"{trajectory.id}\\n")
    sys.stdout.flush()
"""


def record_and_kill(space: Space, home: Path, seconds: float, url: str | None = None) -> set[uuid.UUID]:
    """Run a recording process for a while, kill it with SIGKILL, and return the ids that it acknowledged."""
    command = [sys.executable, "-c", RECORDER, url or space.url, str(home), str(space.server_id), str(SPACE), str(DIM)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    said = process.stdout.read().splitlines()  # until it dies
    assert process.wait() == -signal.SIGKILL
    timer.join()
    process.stdout.close()
    return {uuid.UUID(line) for line in said if len(line) == 36}


def segments(home: Path) -> list[Path]:
    return sorted(path for path in home.glob("spool/*/*/*") if path.name.isdigit())


def left_behind(space: Space, home: Path, proxy: Proxy) -> tuple[set[uuid.UUID], Path]:
    """A spool not yet written to Postgres: its ids, and its only segment."""
    stopper = threading.Timer(0.0, proxy.refuse)
    proxy.on(b"INSERT INTO sona.batches", proxy.refuse)
    acknowledged = record_and_kill(space, home, 0.03, url=proxy.url)
    stopper.cancel()
    assert space.count("trajectories") == 0
    [segment] = segments(home)
    return acknowledged, segment
