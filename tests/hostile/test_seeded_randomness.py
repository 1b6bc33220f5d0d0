"""Applications seed `random`, and servers may draw one number: a marker proves a commit to its writer alone."""

from __future__ import annotations

import random
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import psycopg
import pytest
from fix_ingest import DIM, SPACE, Space

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.ingest import Writer, numbers
from sona_pg.recorder import HotPath

OpenWriter = Callable[..., Writer]
Record = Callable[..., uuid.UUID]

PROCESSES, BATCHES, ROWS = 6, 60, 3
RECORDER = """
import random, sys, tempfile, uuid
from pathlib import Path
import numpy as np
from sona_pg.config import IngestConfig
from sona_pg.ingest import Writer, WriterRequest
from sona_pg.recorder import HotPath
from sona_pg.store.connect import connect
url, space, dim, server, batches, rows = sys.argv[1:]
random.seed(0)
hot, engine = HotPath(int(dim), 1000, 1 << 20), connect(url)
writer = Writer(hot, engine, WriterRequest(space_id=int(space), server_id=uuid.UUID(server),
                config=IngestConfig(flush_interval=60), home=Path(tempfile.gettempdir())))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(batches)):
    for _ in range(int(rows)):
        hot.end_trajectory(hot.begin_trajectory(np.ones(int(dim), np.float32)), 0.5)
    writer.flush(30)
print(hot.recorded_count, flush=True)
writer.close()
engine.dispose()
"""


def add_server(space: Space) -> uuid.UUID:
    server, now = uuid.uuid4(), datetime.now(UTC)
    with psycopg.connect(space.url) as connection:
        connection.execute(
            "INSERT INTO sona.servers (space_id, server_id, host, pid, release, started_at, seen_at, serving_version)"
            " VALUES (%s, %s, 'there', 2, '0', %s, %s, 0)",
            [SPACE, server, now, now],
        )
    return server


def test_six_processes_with_the_same_seed_lose_nothing(space: Space) -> None:
    told = [str(each) for each in (BATCHES, ROWS)]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RECORDER, space.url, str(SPACE), str(DIM), str(add_server(space)), *told],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(PROCESSES)
    ]  # fmt: skip
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    acknowledged = sum(int(child.communicate(timeout=60)[0]) for child in children)
    assert acknowledged == PROCESSES * BATCHES * ROWS
    assert space.count("trajectories") == acknowledged


def test_servers_that_draw_the_same_numbers_lose_nothing(
    space: Space, open_writer: OpenWriter, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter([1000, 1000])
    monkeypatch.setattr(numbers, "random_start", lambda: next(drawn, 5_000_000))
    second = add_server(space)
    servers = {space.server_id: HotPath(DIM, 1000, 1 << 20), second: HotPath(DIM, 1000, 1 << 20)}
    writers = [open_writer(hot, server_id=server, flush_interval=60) for server, hot in servers.items()]
    recorded: dict[uuid.UUID, set[uuid.UUID]] = {server: set() for server in servers}
    for turn in range(3):
        for (server, hot), writer in zip(servers.items(), writers, strict=True):
            recorded[server] |= {record(hot, steps=2) for _ in range(10 + turn)}
            hot.record_feedback(next(iter(recorded[server])), quality=0.5)
            writer.flush(10)
    assert space.ids() == recorded[space.server_id] | recorded[second]
    assert (space.count("steps"), space.count("feedback")) == (2 * 66, 6)
    marked = "SELECT server_id, t.id FROM sona.trajectories t JOIN sona.batches b USING (space_id, batch)"
    assert {server: {row[1] for row in space.rows(marked) if row[0] == server} for server in servers} == recorded
    assert space.rows("SELECT count(*) FROM sona.feedback JOIN sona.batches USING (space_id, batch)") == [(6,)]
    assert sum(writer.stats().trajectories for writer in writers) == 66


def test_numbers_count_up_from_a_place_of_the_system() -> None:
    first, second = numbers.BatchNumbers(), numbers.BatchNumbers()
    given = [first.next() for _ in range(100)]
    assert given == list(range(given[0], given[0] + 100))
    assert min(given) >= 0
    assert max(given) < 2**63
    assert second.next() not in given


@pytest.mark.parametrize("works", [False, True], ids=["idle", "at work"])
def test_nothing_is_drawn_from_the_applications_random_streams(database_url: str, works: bool) -> None:
    def states() -> tuple[object, ...]:
        name, keys, *rest = np.random.get_state()
        return (random.getstate(), name, tuple(keys), *rest)

    before = states()
    with SonaEngine(DIM, database_url, config=SonaConfig(loops=LoopConfig(automatic=not works))) as engine:
        rows = np.eye(DIM, dtype=np.float32)
        for row in rows if works else []:
            ranking = engine.rank(row, rows, ids=[str(n) for n in range(DIM)], exploration=1.0)
            trajectory = engine.begin_trajectory(row, ranking=ranking)
            engine.add_step(trajectory, row, None, 1.0)
            engine.end_trajectory(trajectory, 0.9)
            trajectory = engine.begin_trajectory(row, decision=engine.route(row, ["a", "b"]))
            engine.end_trajectory(trajectory, 0.5)
        if works:
            assert engine.force_learn().learned
            engine.evaluate_policies()
            engine.rebuild()
            engine.search(rows[0], 3)
    assert states() == before
