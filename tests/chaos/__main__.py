"""Kill Postgres for real while four processes record, again and again, and count: `python -m tests.chaos --minutes 10`.

Two processes record with durability `spool` (acknowledged by each `end_trajectory`), one with `sync`, one with
`memory` (acknowledged by each `flush`). Postgres is crashed and started again every few seconds, and sometimes a
recording process is killed and replaced. At the end every acknowledged id must be stored, once.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from sona_pg.store.migrate import upgrade

if __package__:
    from tests.chaos.server import CrashingServer
else:
    from server import CrashingServer

DIM = 32
SPACE = 1
LEVELS = ["spool", "spool", "sync", "memory"]


class Recorder:
    """One recording process after another; what they acknowledged is in a file of theirs."""

    def __init__(self, level: str, url: str, folder: Path, server_id: uuid.UUID) -> None:
        self.level = level
        self.said = folder / f"acknowledged-{server_id}"
        self.killed = 0
        self._command = [
            *(sys.executable, str(Path(__file__).with_name("recorder.py"))),
            *(level, url, str(folder / "home"), str(server_id), str(SPACE), str(DIM)),
        ]
        self._start()

    def _start(self) -> None:
        self._ready = self._said_ready()  # by those before, some of whom were killed before they could
        with self.said.open("ab") as file:
            self.process = subprocess.Popen(self._command, stdout=file)

    def kill(self) -> None:
        """Kill it for real and start another."""
        self.process.kill()
        self.process.wait()
        self.killed += 1
        self._start()

    def stop(self) -> int:
        """Let it finish: it flushes what it has, and what killed ones left."""
        while self._said_ready() == self._ready and self.process.poll() is None:  # it does not hear SIGTERM yet
            time.sleep(0.05)
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=120)

    def _said_ready(self) -> int:
        return self.said.read_text().count("ready") if self.said.exists() else 0

    def acknowledged(self) -> set[uuid.UUID]:
        return {uuid.UUID(line) for line in self.said.read_text().splitlines() if len(line) == 36}


def prepare(url: str) -> list[uuid.UUID]:
    upgrade(url)
    now = datetime.now(UTC)
    servers = [uuid.uuid4() for _ in LEVELS]
    with psycopg.connect(url) as connection:
        connection.execute("SELECT sona.ensure_partitions(%s, 2)", [now])
        connection.execute(
            "INSERT INTO sona.spaces (space_id, name, dim, created_at) VALUES (%s, 'chaos', %s, %s)", [SPACE, DIM, now]
        )
        for server in servers:
            connection.execute(
                "INSERT INTO sona.servers (space_id, server_id, host, pid, release, started_at, seen_at,"
                " serving_version) VALUES (%s, %s, 'chaos', 0, '0', %s, %s, 0)",
                [SPACE, server, now, now],
            )
    return servers


def check(url: str, recorders: list[Recorder]) -> bool:
    """Compare what was acknowledged with what is stored, and say so."""
    with psycopg.connect(url) as connection:
        stored = [row[0] for row in connection.execute("SELECT id FROM sona.trajectories")]
        steps = connection.execute("SELECT count(*) FROM sona.steps").fetchone()
        marked = connection.execute("SELECT sum(trajectories), sum(steps) FROM sona.batches").fetchone()
        counted = connection.execute("SELECT sum(trajectories) FROM sona.servers").fetchone()
    fine = True
    for recorder in recorders:
        acknowledged = recorder.acknowledged()
        missing = acknowledged - set(stored)
        fine &= not missing
        print(
            f"{recorder.level:7} acknowledged {len(acknowledged):8}  missing {len(missing)}  killed {recorder.killed}"
        )
    doubled = len(stored) - len(set(stored))
    agree = steps == (len(stored),) and marked == (len(stored), len(stored)) and counted == (len(stored),)
    print(f"stored {len(stored)}, doubled {doubled}, steps {steps}, batches say {marked}, servers say {counted}")
    return fine and not doubled and agree


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="sona-chaos-", dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with CrashingServer(folder) as server:
            recorders = [
                Recorder(level, server.url, folder, server_id)
                for level, server_id in zip(LEVELS, prepare(server.url), strict=True)
            ]
            crashes = 0
            end = time.monotonic() + 60 * options.minutes
            while time.monotonic() < end:
                time.sleep(chance.uniform(0.2, 4.0))
                if chance.random() < 0.3:
                    recorders[chance.randrange(2)].kill()  # only a spool promises to survive this
                    continue
                server.crash()
                crashes += 1
                time.sleep(chance.choice([0.0, 0.1, 1.5]))
                server.start()
            codes = [recorder.stop() for recorder in recorders]
            print(f"{crashes} crashes of Postgres in {options.minutes} minutes; the recorders ended with {codes}")
            fine = check(server.url, recorders) and not any(codes)
    print("nothing acknowledged is missing, nothing is doubled" if fine else "FAILED")
    return 0 if fine else 1


if __name__ == "__main__":
    if os.name != "posix":
        sys.exit("chaos needs signals")
    sys.exit(main())
