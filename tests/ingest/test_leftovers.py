"""Leftovers of other processes on this machine never block new records."""

from __future__ import annotations

import errno
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fix_ingest import DIM, Space
from fix_proxy import Proxy

from sona_pg.errors import DatabaseUnavailable
from sona_pg.ingest import Writer
from sona_pg.recorder import HotPath

OpenWriter = Callable[..., Writer]
Record = Callable[..., uuid.UUID]


@pytest.mark.parametrize("prefix", ["candidates-", "batch-", "0000"])
def test_files_of_others_that_cannot_be_deleted_hold_no_record_up(
    hot: HotPath,
    space: Space,
    open_writer: OpenWriter,
    record: Record,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    prefix: str,
) -> None:
    first = open_writer(hot, url=proxy.url)
    proxy.refuse()
    first.enqueue_candidates(["a"], np.ones((1, DIM), np.float32))
    expected = {record(hot)}
    while not first.stats().retries:
        pass
    expected.add(record(hot))
    with pytest.raises(DatabaseUnavailable, match="the next process"):
        first.close(timeout=0.1)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith(prefix):
            raise OSError(errno.EROFS, "Read-only file system")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    second = HotPath(DIM, 10, 1 << 16)
    writer = open_writer(second)
    own = record(second)
    writer.flush(10)
    writer.close()
    assert own in space.ids()
    monkeypatch.undo()
    open_writer(HotPath(DIM, 10, 1 << 16)).flush(10)
    assert space.ids() == expected | {own}
    assert (space.count("trajectories"), space.count("candidates")) == (3, 1)
