"""`sona-pg dream`: one deep cycle with its progress, which an interrupt ends early without losing what was done."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import psycopg
import pytest
from typer.testing import CliRunner

from sona_pg import SonaEngine
from sona_pg.cli import dream_commands
from sona_pg.cli.commands import app
from tests.worker.test_deep_loop import CONFIG, DIM, TOPICS


@pytest.fixture
def taught(database_url: str) -> str:
    """The URL of a database whose default space has learned from sessions."""
    rng = np.random.default_rng(1)
    with SonaEngine(DIM, database_url, config=CONFIG) as engine:
        for number in range(12):
            for topic in TOPICS[:4]:
                t = engine.begin_trajectory(topic + 0.2 * rng.standard_normal(DIM).astype(np.float32))
                engine.add_trajectory_context(t, f"session:{number}")
                engine.end_trajectory(t, quality=0.5)
        engine.force_learn()
    return database_url


def dreamt(url: str, *options: str) -> dict:
    done = CliRunner().invoke(app, ["dream", "--url", url, *options])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_it_runs_a_deep_cycle_and_prints_its_counts(taught: str) -> None:
    result = dreamt(taught, "--seconds", "600")
    assert (result["version"], result["finished"]) == (2, True)
    assert result["dreams"]["count"] == CONFIG.dreams.count
    with psycopg.connect(taught) as connection:
        [row] = connection.execute("SELECT version, detail ->> 'units' FROM sona.cycles WHERE loop = 'deep'").fetchall()
    assert row == (2, str(result["units"]))


def test_an_interrupt_publishes_what_was_done_and_the_next_one_goes_on_there(
    taught: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []

    @contextmanager
    def bar(title: str) -> Iterator[Callable[[int, int], None]]:
        def note(done: int, total: int) -> None:
            told.append((done, total))
            if done == 2:
                signal.raise_signal(signal.SIGINT)

        yield note

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr(dream_commands, "progress_bar", bar)
        result = dreamt(taught)
    assert signal.getsignal(signal.SIGINT) is before
    assert (result["version"], result["units"], result["finished"]) == (2, 2, False)
    assert [done for done, _ in told] == [1, 2]
    assert all(total > 2 for _, total in told)
    rest = dreamt(taught)
    assert (rest["version"], rest["finished"]) == (3, True)
    assert (rest["from_stage"], rest["from_done"]) > (0, 0)
    assert result["dreams"]["count"] + rest["dreams"]["count"] == CONFIG.dreams.count
