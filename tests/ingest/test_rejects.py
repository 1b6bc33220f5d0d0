"""Refused rows: kept in files within a bound, and never in the way of the others."""

from __future__ import annotations

import base64
import json
import logging
import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from fix_ingest import DIM, SPACE, Space
from fix_proxy import Proxy

from sona_pg.errors import DatabaseUnavailable
from sona_pg.ingest import Writer, candidate_log, rejects
from sona_pg.ingest.candidate_rows import Candidates, CandidateSet
from sona_pg.ingest.commit import Rejected
from sona_pg.ingest.keeping import prune
from sona_pg.ingest.rejects import Rejects
from sona_pg.recorder import HotPath

OpenWriter = Callable[..., Writer]
Record = Callable[..., uuid.UUID]
NOW = datetime(2026, 11, 20, tzinfo=UTC)


def refused(n: int, size: int = 10) -> list[Rejected]:
    return [Rejected("trajectory", uuid.uuid4(), f"23514: wrong {i}", {"trajectories": bytes(size)}) for i in range(n)]


def test_a_home_that_cannot_be_written_holds_no_other_record_up(
    hot: HotPath,
    space: Space,
    open_writer: OpenWriter,
    record: Record,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rejects, "RETRY_EVERY", 0.0)
    space.execute("ALTER TABLE sona.trajectories ADD CHECK (route <> 'poison')")
    (tmp_path / "rejected").write_text("a file where the folder should be")
    writer = open_writer(hot)
    with caplog.at_level(logging.ERROR, "sona_pg.ingest"):
        bad, good = record(hot, route="poison"), record(hot)
        writer.flush(10)
    assert space.ids() == {good}
    assert f"trajectory {bad}: 23514" in caplog.text
    assert "kept in memory" in caplog.text
    assert (writer.stats().rejected, writer.stats().rejected_unsaved) == (1, 1)
    (tmp_path / "rejected").unlink()
    writer.close()
    [kept] = (tmp_path / "rejected" / str(SPACE)).iterdir()
    assert str(bad) in kept.read_text()
    assert (writer.stats().rejected_unsaved, writer.stats().rejected_lost) == (0, 0)


def test_rows_in_memory_are_saved_once_the_folder_can_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "rejected"
    folder.write_text("a file")
    kept = Rejects(folder)
    kept.keep(1, refused(2), NOW)
    kept.keep(1, refused(2), NOW)  # the batch is tried again
    assert kept.unsaved == 2
    kept.retry()  # too soon
    folder.unlink()
    kept.keep(2, refused(1), NOW)
    assert kept.unsaved == 0
    assert {path.name: len(path.read_text().splitlines()) for path in folder.iterdir()} == {"1.jsonl": 2, "2.jsonl": 1}


def test_memory_for_unsaved_rows_is_bounded_and_losses_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rejects, "MOST_UNSAVED_BYTES", 10_000)
    (tmp_path / "rejected").write_text("a file")
    kept = Rejects(tmp_path / "rejected")
    for batch in range(20):
        kept.keep(batch, refused(1, 1000), NOW)
    assert (kept.unsaved, kept.lost) == (6, 14)
    kept.close()
    assert (kept.unsaved, kept.lost) == (0, 20)
    assert "6 refused rows are lost" in caplog.text


def test_the_folder_is_bounded_and_the_oldest_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rejects, "MOST_BYTES", 10_000)
    kept = Rejects(tmp_path)
    for batch in range(20):
        kept.keep(batch, refused(1, 1000), NOW)
        os.utime(tmp_path / f"{batch}.jsonl", ns=(batch, batch))
    left = sorted(int(path.stem) for path in tmp_path.iterdir())
    assert left == list(range(14, 20))
    assert kept.pruned == 14
    assert "of the oldest files" in caplog.text


def test_a_folder_of_many_small_files_is_bounded_too_and_the_newest_stays(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / str(number)).write_bytes(bytes(10))
        os.utime(tmp_path / str(number), ns=(number, number))
    (tmp_path / "folder").mkdir()
    assert prune(tmp_path, 1000, most_files=4) == 6
    assert prune(tmp_path, 1000, most_files=4) == 0
    assert prune(tmp_path, 5) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"9", "folder"}


@pytest.mark.parametrize("replayed", [False, True], ids=["stored", "replayed"])
def test_candidates_that_are_refused_are_kept_in_a_file_as_well(
    hot: HotPath, space: Space, open_writer: OpenWriter, proxy: Proxy, tmp_path: Path, replayed: bool
) -> None:
    space.execute("ALTER TABLE sona.candidates ADD CHECK (candidate_id <> 'poison')")
    space.execute("ALTER TABLE sona.candidate_sets ADD CHECK (set_id <> 13)")
    writer = open_writer(hot, url=proxy.url)
    if replayed:
        proxy.refuse()
    assert writer.enqueue_candidates(["fine", "poison"], np.eye(2, DIM, dtype=np.float32))
    assert writer.enqueue_candidate_set(12, ["fine"])
    assert writer.enqueue_candidate_set(13, ["fine", "poison"])
    if replayed:
        with pytest.raises(DatabaseUnavailable, match="the next process"):
            writer.close(timeout=0.1)
        writer = open_writer(HotPath(DIM, 10, 1 << 16))
    writer.flush(10)
    assert space.rows("SELECT candidate_id FROM sona.candidates") == [("fine",)]
    assert space.rows("SELECT set_id FROM sona.candidate_sets") == [(12,)]
    assert writer.stats().rejected == 2
    files = (tmp_path / "rejected" / str(SPACE)).iterdir()
    kept = {row["kind"]: row for row in (json.loads(file.read_text()) for file in files)}
    assert (kept["candidate"]["candidate_id"], kept["candidate_set"]["set_id"]) == ("poison", "13")
    assert all(row["reason"].startswith("23514") for row in kept.values())
    log = tmp_path / "log"
    log.write_bytes(b"".join(base64.b64decode(row["rows"][f"{kind}s"]) for kind, row in sorted(kept.items())))
    (candidate, shown), _, ended = candidate_log.read(log)
    assert ended == "end"
    assert isinstance(candidate, Candidates)
    assert (candidate.ids, candidate.embeddings[0].tolist()) == (("poison",), np.eye(2, DIM)[1].tolist())
    assert shown == CandidateSet(13, ("fine", "poison"))
