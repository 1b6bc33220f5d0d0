"""Retention of a single space: its old facts go once they are learned, those of other spaces stay."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fix_ledger import NOW, Ledger, weeks_ago
from typer.testing import CliRunner

from sona_pg.cli.commands import app
from sona_pg.domain.ids import uuid7
from sona_pg.domain.space import Space
from sona_pg.errors import InvalidValue
from sona_pg.store.admin import check, space_retention
from sona_pg.store.connect import driver_connection
from sona_pg.store.transactions import transaction

DIM = 8
ROWS = np.random.default_rng(0).standard_normal((5, DIM)).astype(np.float32)


def record(ledger: Ledger, space: Space, batch: int, weeks: int, *, learned: bool) -> None:
    """Store a batch of five trajectories of some weeks ago, with feedback on the first."""
    at = weeks_ago(weeks)
    ids = ledger.fill(space, ROWS, at, batch=batch)
    ledger.execute(
        "INSERT INTO sona.feedback (space_id, quality, trajectory_id, sequence, batch, recorded_at, source)"
        " VALUES (%s, 1, %s, 1, %s, %s, 'user')", space.space_id, ids[0], batch, at,
    )  # fmt: skip
    ledger.execute(
        "INSERT INTO sona.batches"
        " (space_id, batch, server_id, first_id, last_id, trajectories, steps, feedback, recorded_at, cycle_id)"
        " VALUES (%s, %s, gen_random_uuid(), %s, %s, 5, 0, 1, %s, %s)",
        space.space_id, batch, ids[0], ids[-1], at, uuid7() if learned else None,
    )  # fmt: skip


def expire(ledger: Ledger, space: Space, **how: int) -> int:
    with transaction(ledger.database.engine, "test") as connection:
        return space_retention.expire(driver_connection(connection), space.space_id, NOW, **how)


def left(ledger: Ledger) -> dict[tuple[int, int], int]:
    return {
        (space, batch): count
        for space, batch, count in ledger.rows(
            "SELECT space_id, batch, count(*) FROM sona.trajectories GROUP BY space_id, batch"
        )
    }


def test_old_learned_facts_of_the_space_alone_go(ledger: Ledger) -> None:
    short, other = ledger.space("short", DIM), ledger.space("other", DIM)
    for space in (short, other):
        for batch, weeks, learned in ((1, 6, True), (2, 5, False), (3, 1, True)):
            record(ledger, space, batch, weeks, learned=learned)
    assert expire(ledger, short) == 0
    ledger.database.set_retention(short, 4)
    assert expire(ledger, short, most=3) == 3
    assert ledger.rows("SELECT trajectories, feedback FROM sona.batches WHERE space_id = 1 AND batch = 1") == [(2, 0)]
    assert expire(ledger, short) == 2
    assert (expire(ledger, short), expire(ledger, other)) == (0, 0)
    assert left(ledger) == {(1, 2): 5, (1, 3): 5, (2, 1): 5, (2, 2): 5, (2, 3): 5}
    assert ledger.rows("SELECT space_id, count(*) FROM sona.feedback GROUP BY space_id ORDER BY 1") == [(1, 2), (2, 3)]
    assert check.faults(ledger.url) == []
    told = [act.act for act in ledger.database.acts(short, 10)]
    assert told == ["facts expired", "facts expired", "retention set", "space created"]


def test_the_retention_of_a_space_is_set_shown_and_removed(ledger: Ledger) -> None:
    ledger.space("short", DIM)
    runner = CliRunner()
    for arguments, weeks in ((["--weeks", "8"], 8), ([], 8), (["--remove"], None), ([], None)):
        done = runner.invoke(app, ["space", "retention", "short", *arguments, "--url", ledger.url])
        assert done.exit_code == 0, done.output
        assert json.loads(done.output)["keep_weeks"] == weeks
    with pytest.raises(InvalidValue, match="1 or more"):
        ledger.database.set_retention(ledger.database.find_space("short"), 0)
