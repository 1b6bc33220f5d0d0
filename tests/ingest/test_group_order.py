"""The order of a group survives the spool, halving, and files of earlier releases."""

from __future__ import annotations

import json

import numpy as np

from sona_pg.domain.memory import GroupOrder
from sona_pg.ingest import candidate_log, candidate_rows
from sona_pg.ingest.candidate_rows import Candidates
from sona_pg.kernels import crc32c

ROWS = np.eye(5, 8, dtype=np.float32)


def test_a_frame_of_the_spool_keeps_group_and_positions(tmp_path):
    path = tmp_path / "candidates-00000001"
    given = Candidates(("a", "b"), ROWS[:2], order=GroupOrder("talk", 1_700_000_000_000_000))
    path.write_bytes(candidate_log.framed(given))
    [row], _, ended = candidate_log.read(path)
    assert (row.ids, row.order, ended) == (given.ids, given.order, "end")


def test_a_frame_of_an_earlier_release_has_no_order(tmp_path):
    path = tmp_path / "candidates-00000001"
    given = Candidates(("a",), ROWS[:1])
    told = {"ids": given.ids, "put_at": given.put_at.isoformat()}
    head, floats = json.dumps(told).encode(), ROWS[:1].astype("<f4").tobytes()
    content = candidate_log.HEAD.pack(len(head), len(floats)) + head + floats
    frame = candidate_log.FRAME.pack(len(content), len(content) ^ candidate_log.CHECK, crc32c(content))
    path.write_bytes(frame + content)
    [row], _, ended = candidate_log.read(path)
    assert (row.ids, row.order, ended) == (("a",), None, "end")


def test_parts_and_halves_go_on_where_the_one_before_ends(monkeypatch):
    monkeypatch.setattr(candidate_rows, "AT_ONCE", 2)
    parts = candidate_rows.checked(list("abcde"), ROWS, 8, GroupOrder("talk", 10))
    assert [(part.ids, part.order.first) for part in parts] == [(("a", "b"), 10), (("c", "d"), 12), (("e",), 14)]
    first, second = candidate_rows.halves(parts[1])
    assert (first.order, second.order) == (GroupOrder("talk", 12), GroupOrder("talk", 13))
