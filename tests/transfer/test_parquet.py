"""Parquet goes in and out: exports are imported again, an interrupted import goes on, a cut file is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from typer.testing import CliRunner

from sona_pg.cli.commands import app
from sona_pg.errors import InvalidValue
from sona_pg.transfer import importing, parquet_rows
from sona_pg.transfer.parquet_rows import ParquetRows

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402

DIM = 4
AT = datetime(2026, 10, 5, 12, tzinfo=UTC)


def run(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, words)
    assert done.exit_code in (0, 1), f"{done.output}{done.exception}"
    return json.loads(done.stdout.splitlines()[-1]) | {"exit": done.exit_code}


def written(path: Path, n: int, **more: Any) -> Path:
    rng = np.random.default_rng(0)
    columns = {
        "id": [f"request {row}" for row in range(n)],
        "started_at": [AT + timedelta(seconds=row) for row in range(n)],
        "embedding": rng.standard_normal((n, DIM)).astype(np.float32).tolist(),
        "route": ["a"] * n,
        "quality": [0.5] * n,
        **more,
    }
    parquet.write_table(pyarrow.table(columns), path, row_group_size=10)
    return path


def test_what_was_exported_is_imported_again(folder: Path, database_url: str) -> None:
    row = {
        "id": "x", "started_at": "2026-10-05T12:00:00Z", "embedding": [1, 0, 0, 0.5], "query": "where?", "route": "a",
        "quality": 0.5, "latency": 1.5, "cost": 0.25, "context": ["user:1"], "parameters": {"k": 3},
        "steps": [{"reward": 0.5, "offset": 0.25}], "feedback": [{"source": "judge", "quality": 0.25, "sequence": 7}],
    }  # fmt: skip
    (folder / "logs.jsonl").write_text(json.dumps(row) + "\n")
    run("import", "logs.jsonl", "--dim", str(DIM))
    run("export", "trajectories", "--with-embeddings", "--output", "all.parquet")
    assert parquet.read_schema(folder / "all.parquet").field("started_at").type == pyarrow.timestamp("us", "UTC")
    done = run("import", "all.parquet", "--space", "copy", "--dim", str(DIM))
    assert (done["recorded"], done["feedback"], done["rejected"]) == (1, 1, 0)
    assert run("import", "all.parquet", "--space", "copy")["known"] == 1
    told = """
        SELECT t.query, t.route, t.quality, t.latency_us, t.paid, t.context, t.parameters, t.id, t.embedding::text,
            f.source, f.quality, f.sequence, s.reward, s.offset_us
        FROM sona.trajectories t JOIN sona.feedback f ON f.space_id = t.space_id AND f.trajectory_id = t.id
        JOIN sona.steps s ON s.space_id = t.space_id AND s.trajectory_id = t.id ORDER BY t.space_id
    """
    with psycopg.connect(database_url) as connection:
        first, second = connection.execute(told).fetchall()
    assert first == second
    run("export", "candidates", "--output", "candidates.parquet")
    run("export", "pairs", "--output", "pairs.parquet")
    assert parquet.read_table(folder / "pairs.parquet").num_rows == 0


def test_rows_that_cannot_be_used_are_told_by_their_number(folder: Path) -> None:
    written(folder / "logs.parquet", 25, feedback=["{no json"] + [None] * 24, quality=[0.5] * 24 + [7.0])
    done = run("import", "logs.parquet", "--dim", str(DIM), "--scale", "0:1")
    assert (done["exit"], done["rows"], done["recorded"], done["rejected"]) == (1, 25, 23, 2)
    rejects = [json.loads(line) for line in (folder / "logs.parquet.rejects.jsonl").read_text().splitlines()]
    assert [row["line"] for row in rejects] == [1, 25]
    assert "feedback is no JSON" in rejects[0]["reason"]


def test_an_interrupted_import_goes_on_behind_the_committed_rows(
    folder: Path, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    written(folder / "logs.parquet", 35)
    monkeypatch.setattr(importing, "BLOCK", 8)
    monkeypatch.setattr(importing, "CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(parquet_rows, "BATCH", 4)
    usual, blocks = importing._Import._record, []

    def killed(self: Any, block: Any) -> None:
        blocks.append(block)
        if len(blocks) == 3:
            raise KeyboardInterrupt
        usual(self, block)

    with monkeypatch.context() as patch:
        patch.setattr(importing._Import, "_record", killed)
        CliRunner().invoke(app, ["import", "logs.parquet", "--dim", str(DIM)])
    done = run("import", "logs.parquet")
    assert (done["resumed_at"], done["rows"], done["recorded"], done["known"]) == (16, 35, 19, 0)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM sona.trajectories").fetchone() == (35,)


def test_a_file_that_was_cut_short_is_refused(folder: Path) -> None:
    path = written(folder / "logs.parquet", 25)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidValue, match="cut short"):
        ParquetRows(path)
    done = CliRunner().invoke(app, ["import", "logs.parquet", "--dim", str(DIM)])
    assert done.exit_code == 2
