"""Durability `spool`: a record that survives a killed process finds the candidates that it names."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fix_ingest import DIM, SPACE, Space
from fix_proxy import Proxy

from sona_pg.errors import StorageError
from sona_pg.ingest import Writer, candidate_log
from sona_pg.ingest.candidate_log import CandidateLog, Extra, files_in, read
from sona_pg.ingest.candidate_rows import Candidates, CandidateSet
from sona_pg.recorder import HotPath

OpenWriter = Callable[..., Writer]
Record = Callable[..., uuid.UUID]

# Adds candidates and a set, records a trajectory that names them, and is killed; argv: url, home, server id.
KILLED = f"""
import os, signal, sys, uuid
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from sona_pg.config import IngestConfig
from sona_pg.ingest import Writer, WriterRequest
from sona_pg.recorder import HotPath
from sona_pg.store.connect import connect
url, home, server = sys.argv[1:]
hot = HotPath({DIM}, 100, 1 << 20)
writer = Writer(hot, connect(url), WriterRequest(space_id={SPACE}, server_id=uuid.UUID(server),
                config=IngestConfig(durability="spool", flush_interval=60), home=Path(home)))
writer.enqueue_candidates(["a", "b"], np.stack([np.full({DIM}, 0.5), np.ones({DIM})]))
writer.enqueue_candidate_set(42, ["a", "b"])
shown = SimpleNamespace(version=None, candidate_set=42)
hot.end_trajectory(hot.begin_trajectory(np.ones({DIM}), ranking=shown), 1.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def put_and_kill(space: Space, home: Path, url: str) -> None:
    command = [sys.executable, "-c", KILLED, url, str(home), str(space.server_id)]
    assert subprocess.run(command, timeout=30).returncode == -signal.SIGKILL


def candidates(space: Space) -> dict[str, str]:
    return dict(space.rows("SELECT candidate_id, embedding::text FROM sona.candidates"))


def test_candidates_of_a_killed_process_are_stored_before_its_records(
    space: Space, open_writer: OpenWriter, tmp_path: Path, proxy: Proxy
) -> None:
    proxy.on(b"INSERT INTO sona", proxy.refuse)
    put_and_kill(space, tmp_path, proxy.url)
    assert (space.count("trajectories"), space.count("candidates")) == (0, 0)
    writer = open_writer(HotPath(DIM, 10, 1 << 16), durability="spool")
    writer.flush(10)
    assert space.rows("SELECT candidate_set FROM sona.trajectories") == [(42,)]
    assert space.rows("SELECT candidate_ids FROM sona.candidate_sets WHERE set_id = 42") == [(["a", "b"],)]
    assert set(candidates(space)) == {"a", "b"}
    assert candidates(space)["a"] == f"[{','.join(['0.5'] * DIM)}]"
    writer.close()
    assert list(tmp_path.glob("spool/*/*")) == []


def test_an_embedding_that_is_newer_is_not_overwritten(
    space: Space, open_writer: OpenWriter, tmp_path: Path, proxy: Proxy
) -> None:
    proxy.on(b"INSERT INTO sona", proxy.refuse)
    put_and_kill(space, tmp_path, proxy.url)
    newer = open_writer(HotPath(DIM, 10, 1 << 16), home=tmp_path / "another machine")
    newer.enqueue_candidates(["a"], np.full((1, DIM), 0.25))
    newer.flush(10)
    open_writer(HotPath(DIM, 10, 1 << 16), durability="spool").flush(10)
    assert candidates(space)["a"] == f"[{','.join(['0.25'] * DIM)}]"
    assert set(candidates(space)) == {"a", "b"}


def test_files_are_deleted_as_their_content_is_committed(
    hot: HotPath, space: Space, open_writer: OpenWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate_log, "FILE_BYTES", 2_000)
    writer = open_writer(hot, durability="spool")
    for number in range(50):
        writer.enqueue_candidate_set(number, [f"c{number}", "x" * 100])
    writer.flush(10)
    assert space.count("candidate_sets") == 50
    left = [path for path in tmp_path.glob("spool/*/*/candidates-*") if path.stat().st_size]
    assert left == []
    writer.close()
    assert list(tmp_path.glob("spool/*/*")) == []


def rows(n: int) -> list[Extra]:
    rng = np.random.default_rng(n)
    return [
        Candidates((f"a{n}", "b\u00fc"), rng.standard_normal((2, DIM)).astype(np.float32)),
        CandidateSet(-(2**63) + n, ("a", "b\u00fc")),
    ]


def same(found: Extra, expected: Extra) -> bool:
    if isinstance(found, Candidates) and isinstance(expected, Candidates):
        return found.ids == expected.ids and np.array_equal(found.embeddings, expected.embeddings)
    return found == expected


def test_appended_rows_are_read_back_and_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    log = CandidateLog(tmp_path)
    put = [row for n in range(5) for row in rows(n)]
    for n in range(5):
        log.append(rows(n))
    [path] = files_in(tmp_path)
    whole = path.read_bytes()
    found, end, follows = read(path)
    assert (len(found), end, follows) == (10, len(whole), "end")
    assert all(map(same, found, put))
    for cut in (1, 20, 60):
        path.write_bytes(whole[:-cut])
        found, _, follows = read(path)
        assert (len(found), follows) == (9, "torn")
    path.write_bytes(whole[:-5] + b"x" + whole[-4:])
    assert (len(read(path)[0]), read(path)[2]) == (9, "bad")


def test_only_committed_rows_are_deleted_from_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidate_log, "FILE_BYTES", 1)  # a file each
    log = CandidateLog(tmp_path)
    for n in range(4):
        log.append(rows(n))
    log.committed(3)
    assert [path.name for path in files_in(tmp_path)] == [f"candidates-{n:08d}" for n in (2, 3, 4)]
    log.close()
    assert len(files_in(tmp_path)) == 3  # the next process reads them


def test_candidates_that_cannot_be_kept_are_not_taken(
    hot: HotPath, open_writer: OpenWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = open_writer(hot, durability="spool", flush_interval=60)
    [folder] = (path for path in tmp_path.glob("spool/*/*") if path.name != "set-aside")
    (folder / "candidates-00000001").write_text("another process's")
    assert writer.enqueue_candidate_set(1, ["a"]) is False
    with pytest.raises(StorageError, match="cannot be written"):
        writer.enqueue_candidates(["a"], np.ones((1, DIM)), wait=True)
    assert "stored when they are used again" in caplog.text
