"""The checks at the end of `make chaos` find rows that were lost, doubled or changed on purpose."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from chaos.check import compare
from chaos.journal import Journal, Promises
from chaos.logs import summary
from chaos.settings import DIM, SPACE, config
from chaos.traffic import Traffic
from sona_pg import SonaEngine

ONE = "(SELECT id FROM sona.trajectories WHERE step_count > 0 ORDER BY id LIMIT 1)"
DAMAGE = {
    f"DELETE FROM sona.trajectories WHERE id = {ONE}": "acknowledged trajectories that are missing",
    "DELETE FROM sona.feedback WHERE (trajectory_id, source, sequence) IN "
    "(SELECT trajectory_id, source, sequence FROM sona.feedback LIMIT 1)": "acknowledged facts that are missing",
    "INSERT INTO sona.trajectories (space_id, id, batch, step_count, query, embedding) "
    f"SELECT space_id, gen_random_uuid(), batch, 0, query, embedding FROM sona.trajectories WHERE id = {ONE}": (
        "trajectories stored twice"
    ),
    "INSERT INTO sona.feedback (space_id, trajectory_id, sequence, batch, recorded_at, source, quality) "
    "SELECT space_id, trajectory_id, sequence + 1, batch, recorded_at, source, quality "
    "FROM sona.feedback WHERE quality IS NOT NULL LIMIT 1": "facts stored twice",
    f"UPDATE sona.trajectories SET step_count = step_count + 1 WHERE id = {ONE}": (
        "trajectories stored with another content"
    ),
    f"DELETE FROM sona.steps WHERE trajectory_id = {ONE} AND ordinal = 0": "trajectories without all their steps",
    f"UPDATE sona.steps SET trajectory_id = gen_random_uuid() WHERE trajectory_id = {ONE}": (
        "steps without their trajectory"
    ),
    "UPDATE sona.batches SET steps = steps + 1": "batches whose marker counts other rows",
    "DELETE FROM sona.batches": "batches whose marker counts other rows",
    "UPDATE sona.servers SET trajectories = trajectories - 1": "counters of servers that count other rows",
    "UPDATE sona.spaces SET departed_feedback = 1": "counters of servers that count other rows",
    "DELETE FROM sona.candidate_sets": "trajectories whose candidate set is not stored",
    "DELETE FROM sona.candidates": "candidates of stored sets that are not stored",
    "UPDATE sona.batches SET cycle_id = NULL": "batches that no cycle has claimed",
    "UPDATE sona.cycles SET feedback = feedback + 1": "cycles that read other facts than they claimed",
}


@pytest.fixture
def promises(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Promises:
    """Journal of a short run, all of it stored and learned from."""
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path / "home"))
    with SonaEngine(DIM, database_url, SPACE, config=config("memory", learns=False, seconds=60.0)) as engine:
        traffic = Traffic(engine, Journal(tmp_path, "one.0"), "one", 0, 1)
        traffic.burst(120)
        engine.flush()
        traffic.acknowledged()
        engine.force_learn()
    return Promises.read(tmp_path)


def test_rows_that_are_lost_doubled_or_changed_are_found(database_url: str, promises: Promises) -> None:
    with psycopg.connect(database_url) as connection:
        whole = compare(connection, promises)
        assert not [failure for failure in whole.failures if failure.count]
        assert whole.promised == whole.stored
        assert whole.stored["trajectories"] == 120
        for damage, expected in DAMAGE.items():
            assert connection.execute(damage).rowcount > 0, damage
            found = {failure.what for failure in compare(connection, promises).failures if failure.count}
            assert expected in found, damage
            connection.rollback()


def test_a_line_that_a_killed_process_was_writing_is_no_promise(tmp_path: Path) -> None:
    name = "0190a299-7dd3-7dd3-871f-b7e4dc7f9164"
    (tmp_path / "one.0.journal").write_text(f"t {name} one.0:1 2 0\nf {name} one 7\nt {name[:20]}")
    read = Promises.read(tmp_path)
    assert [str(found) for found in read.trajectories] == [name]
    assert len(read.facts) == 1


def test_only_tracebacks_of_an_absent_database_are_expected(tmp_path: Path) -> None:
    start = "Traceback (most recent call last):\n  File 'x', line 1, in f\n"
    away = "sona_pg.errors.DatabaseUnavailable: away\n"
    (tmp_path / "one.log").write_text(
        f"2026-11-21 19:00:44,785 ERROR sona_pg: a cycle failed\n{start}psycopg.OperationalError: gone\n\n"
        f"The above exception was the direct cause of the following exception:\n\n{start}{away}"
        f"Exception in thread follower:\n{start}{away}"
        f"{start}ValueError: 7 is wrong\n{start}ValueError: 8 is wrong\n"
    )
    levels, unexpected = summary(tmp_path)
    assert levels == {"ERROR": 1}
    assert sorted(unexpected.values()) == [1, 2]
    assert unexpected["one: ValueError: # is wrong"] == 2
