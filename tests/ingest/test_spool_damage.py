"""Damaged spool files: torn records are cut off, wrong checksums are set aside."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_ingest import DIM, Space
from fix_proxy import Proxy
from fix_spool import left_behind, segments

from sona_pg.ingest import Writer, spool_folder
from sona_pg.recorder import HotPath

OpenWriter = Callable[..., Writer]
Record = Callable[..., uuid.UUID]


def test_a_torn_last_record_is_cut_off(
    space: Space, open_writer: OpenWriter, tmp_path: Path, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    acknowledged, segment = left_behind(space, tmp_path, proxy)
    with segment.open("ab") as file:
        file.write(segment.read_bytes()[:50])  # the frame of a record, and too little of the record
    with caplog.at_level(logging.WARNING, "sona_pg.ingest"):
        open_writer(HotPath(DIM, 10, 1 << 16), durability="spool").flush(20)
    assert acknowledged <= space.ids()
    assert "was cut off" in caplog.text
    assert segments(tmp_path) == []


@pytest.mark.parametrize("keep", [1, 7, 15])
def test_a_torn_frame_is_cut_off(
    space: Space, open_writer: OpenWriter, tmp_path: Path, proxy: Proxy, keep: int
) -> None:
    acknowledged, segment = left_behind(space, tmp_path, proxy)
    with segment.open("ab") as file:
        file.write(segment.read_bytes()[:keep])
    open_writer(HotPath(DIM, 10, 1 << 16), durability="spool").flush(20)
    assert acknowledged <= space.ids()


def test_a_wrong_checksum_in_the_middle_sets_the_segment_aside(
    space: Space, open_writer: OpenWriter, tmp_path: Path, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    acknowledged, segment = left_behind(space, tmp_path, proxy)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    with caplog.at_level(logging.ERROR, "sona_pg.ingest"):
        open_writer(HotPath(DIM, 10, 1 << 16), durability="spool").flush(20)
    assert 0 < len(space.ids()) < len(acknowledged)
    assert "is damaged at byte" in caplog.text
    [kept] = tmp_path.glob("spool/*/set-aside/*")
    assert kept.read_bytes() == data
    assert segments(tmp_path) == []


def test_files_set_aside_are_bounded_and_the_oldest_is_deleted_first(
    space: Space, open_writer: OpenWriter, tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, segment = left_behind(space, tmp_path, proxy)
    segment.write_bytes(segment.read_bytes()[:-1] + b"x")
    folder = segment.parents[1] / spool_folder.SET_ASIDE
    folder.mkdir()
    for number in range(3):
        (folder / f"earlier-{number}").write_bytes(bytes(1000))
        os.utime(folder / f"earlier-{number}", ns=(number, number))
    monkeypatch.setattr(spool_folder, "SET_ASIDE_BYTES", 1500 + segment.stat().st_size)
    open_writer(HotPath(DIM, 10, 1 << 16), durability="spool").flush(20)
    assert {path.name for path in folder.iterdir()} == {f"{segment.parent.name}-{segment.name}", "earlier-2"}
