"""Erasure: the served state never had the user, and neither has any table, version or server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from uuid import UUID

import numpy as np
import psycopg
import pytest
from fix_erasure import CONFIG, DIM, NAMES, History, knowledge_of

from sona_pg import SonaEngine
from sona_pg.domain.erasure import Key, Receipt, Subject
from sona_pg.errors import Conflict, InvalidValue, UnknownVersion
from sona_pg.worker.erasing import digest, finish
from sona_pg.worker.rebuild import differences


def rows(url: str, query: str, *values: object) -> list[tuple]:
    with psycopg.connect(url) as connection:
        return connection.execute(query, values).fetchall()


@pytest.mark.parametrize("seed", range(3))
def test_a_space_that_forgot_a_user_equals_one_that_never_had_them(database_url, key, seed):
    history = History.drawn(seed)
    person = ("ann", "bob", "eve")[seed % 3]
    with (
        SonaEngine(DIM, database_url, "had", config=CONFIG) as had,
        SonaEngine(DIM, database_url, "never", config=CONFIG) as never,
    ):
        history.record(had)
        history.record(never, without=person)
        assert differences(knowledge_of(had), knowledge_of(never))
        receipt = had.forget(user=person, key=key)
        assert differences(knowledge_of(had), knowledge_of(never)) == []
        assert had.version == receipt.facts["version"] == 4
        assert receipt.facts["state_after"] == digest(knowledge_of(never)) != receipt.facts["state_before"]
        for query in history.documents:
            recalled = [of.recall(query, context=[history.documents[0]]) for of in (had, never)]
            assert recalled[0].ids == recalled[1].ids
            assert np.array_equal(recalled[0].scores, recalled[1].scores)
        assert had.rebuild().equal


def test_no_row_of_the_user_is_left(engine, database_url, key):
    history = History.drawn(1)
    history.record(engine)
    ids = [event.id for cycle in history.cycles for event in cycle if event.person == "bob"]
    plan = engine.forget_plan(user="bob")
    assert (plan.trajectories, plan.first_version, plan.versions, plan.expired) == (len(ids), 1, (1, 2, 3), 0)
    receipt = engine.forget(user="bob", key=key)
    assert receipt.facts["removed"]["trajectories"] == len(ids)
    assert receipt.facts["removed"]["feedback"] == plan.feedback > 0
    assert receipt.facts["removed"]["steps"] == plan.steps == len(ids)
    assert receipt.facts["versions_dropped"] == [1, 2, 3]
    for table, column in (("trajectories", "id"), ("steps", "trajectory_id"), ("feedback", "trajectory_id")):
        assert rows(database_url, f"SELECT FROM sona.{table} WHERE {column} = ANY(%s)", ids) == []
    assert rows(database_url, "SELECT FROM sona.memory_nodes WHERE trajectory_id = ANY(%s)", ids) == []
    dump = "SELECT version, encode(data, 'escape') FROM sona.state_arrays"
    assert rows(database_url, "SELECT DISTINCT version FROM sona.state_arrays") == [(4,)]
    assert all(str(id_.bytes) not in data for id_ in ids for _, data in rows(database_url, dump))
    assert engine.forget_plan(user="bob").trajectories == 0
    assert engine.metrics()["version"] == 4
    counted = "SELECT sum(trajectories), sum(feedback) FROM sona.batches"
    stored = "SELECT (SELECT count(*) FROM sona.trajectories), (SELECT count(*) FROM sona.feedback)"
    assert rows(database_url, counted) == rows(database_url, stored)


def test_a_version_that_learned_from_the_user_cannot_come_back_and_an_earlier_one_can(engine, key):
    history = History.drawn(2)
    history.cycles[0][:] = [event for event in history.cycles[0] if event.person != "ann"]  # comes in the second cycle
    history.record(engine)
    first = engine.patterns_at(1)
    receipt = engine.forget(user="ann", key=key)
    assert (receipt.facts["first_version"], receipt.facts["rebuilt_from"], receipt.facts["cycles"]) == (2, 1, 2)
    assert [version.version for version in engine.versions()] == [4, 1]
    with pytest.raises(UnknownVersion):
        engine.rollback(2)
    assert engine.rebuild().equal
    assert engine.rollback(1).version == 5
    assert [pattern.id for pattern in engine.patterns_at(5)] == [pattern.id for pattern in first]
    assert engine.force_learn().learned is False


def test_a_session_and_single_trajectories_are_forgotten_alike(engine, key):
    history = History.drawn(3)
    history.record(engine)
    ids = [event.id for event in history.cycles[1] if event.person == "bob"]
    assert engine.forget(trajectories=ids, key=key).facts["removed"]["trajectories"] == len(ids)
    assert engine.rebuild().equal
    assert engine.forget(session="of ann", key=key).facts["removed"]["trajectories"] > 0
    assert engine.forget_plan(user="ann").trajectories == 0
    assert engine.rebuild().equal


def test_learning_goes_on_after_an_erasure(engine, key):
    history = History.drawn(4)
    history.record(engine)
    engine.forget(user="eve", key=key)
    handle = engine.begin_trajectory(np.ones(DIM))
    engine.end_trajectory(handle, 1.0)
    assert engine.force_learn().version == 5
    engine.deep_learn(1.0)
    assert engine.rebuild().equal
    engine.forget(user="bob", key=key)
    assert engine.rebuild().equal


@pytest.mark.parametrize("end", ["removal", "publication"])
def test_an_erasure_that_is_killed_is_finished_by_the_next(engine, database_url, key, monkeypatch, end):
    history = History.drawn(5)
    history.record(engine)

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        where = {"removal": "sona_pg.store.erasure_rows.finish", "publication": "sona_pg.worker.erasing.finish"}[end]
        patched.setattr(where, die)
        with pytest.raises(Killed):
            engine.forget(user="bob", key=key)
    assert engine.forget_plan(user="bob").trajectories == 0
    assert [(erasure.phase, erasure.receipt) for erasure in engine.erasures()] == [("removed", None)]
    assert not engine.rebuild().equal
    assert engine.finish_erasures(key=key) == 1
    assert engine.rebuild().equal
    assert [erasure.phase for erasure in engine.erasures()] == ["done"]
    assert engine.finish_erasures(key=key) == 0


KILLED = """
import os, signal, sys
from sona_pg import SonaEngine
with SonaEngine(space="kept") as engine:
    engine.forget(user="bob", progress=lambda done, total: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_an_erasure_goes_on_after_a_kill(engine, database_url, key):
    History.drawn(5, cycles=2).record(engine)
    environment = {**os.environ, "SONA_PG_URL": database_url, "SONA_PG_RECEIPT_KEY": str(key)}
    script = KILLED.replace("SonaEngine(", f"SonaEngine({DIM}, ")
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == -signal.SIGKILL
    with psycopg.connect(database_url) as connection:  # the dead process's lease runs out
        connection.execute("UPDATE sona.leases SET expires_at = now()")
    assert [erasure.phase for erasure in engine.erasures()] == ["removed"]
    assert engine.finish_erasures(key=key) == 1
    assert engine.rebuild().equal


def test_records_that_arrive_late_are_erased_before_they_are_learned(engine, database_url, key):
    history = History.drawn(6)
    history.record(engine)
    kept = [event for cycle in history.cycles for event in cycle if event.person == "ann"]
    engine.forget(user="bob", key=key)
    late = UUID(int=kept[-1].id.int + 1)
    for id_, person in ((late, "bob"), (None, "bob"), (UUID(int=late.int + 1), "ann")):  # the second one is new consent
        handle = engine.begin_trajectory(np.ones(DIM), id=id_)
        engine.add_trajectory_context(handle, f"user:{person}")
        engine.end_trajectory(handle, 1.0)
    assert engine.force_learn().trajectories == 2
    assert rows(database_url, "SELECT FROM sona.trajectories WHERE id = %s", late) == []
    assert engine.forget_plan(user="bob").trajectories == 1
    assert engine.erasures()[0].late == 1


def test_every_server_drops_what_it_holds_in_memory(engine, database_url, key):
    history = History.drawn(7)
    history.record(engine)
    with SonaEngine(DIM, database_url, "kept", config=CONFIG) as other:
        query = np.arange(DIM, dtype=np.float32) - 3
        handle = other.begin_trajectory(query, candidates=NAMES)
        other.add_trajectory_context(handle, "user:bob")
        other.add_step(handle, np.roll(query, 1), None, 1.0)
        other.set_trajectory_route(handle, "d1")
        other.end_trajectory(handle, 1.0)
        other.flush()
        assert len(other._session.held.instant.recent_ids)
        assert other._session.evidence.waiting_ids
        engine.forget(user="bob", key=key)
        other.refresh()
        assert len(other._session.held.instant.recent_ids) == 0
        other.rank(query)
        assert other._session.evidence.waiting_ids == []
        assert np.array_equal(other.apply_micro_lora(query), engine.apply_micro_lora(query))


def test_feedback_on_an_erased_answer_that_comes_later_is_weighed_by_no_server(engine, key):
    query = np.arange(DIM, dtype=np.float32) - 3
    engine.remember(NAMES, History.drawn(0).documents)
    engine.flush()
    shown = engine.begin_trajectory(query, candidates=NAMES)
    engine.add_trajectory_context(shown, "user:bob")
    engine.end_trajectory(shown)
    known, unknown = engine.begin_trajectory(query, candidates=NAMES), UUID(int=shown.id.int + 1)
    engine.end_trajectory(known)
    engine.feedback(unknown, correction="d2")  # waits in memory for its trajectory
    engine.forget(user="bob", key=key)
    before = list(engine.rank(query, ids=NAMES).scores)
    engine.feedback(shown.id, correction="d1")
    assert engine._session.evidence.waiting_ids == []
    assert list(engine.rank(query, ids=NAMES).scores) == before
    assert engine._session.evidence.ids() == [known.id.bytes, shown.id.bytes]  # a number without a query
    engine.feedback(known.id, correction="d1")
    assert engine._session.evidence.waiting_ids == [known.id.bytes]
    assert list(engine.rank(query, ids=NAMES).scores) != before


def test_an_erasure_is_refused_where_learned_facts_have_expired_unless_they_may_be_dropped(engine, database_url, key):
    history = History.drawn(8)
    history.record(engine)
    with psycopg.connect(database_url) as connection:  # as retention does
        connection.execute(
            "DELETE FROM sona.trajectories t USING sona.batches b JOIN sona.cycles c USING (space_id, cycle_id) "
            "WHERE t.space_id = b.space_id AND t.batch = b.batch AND c.version = 1"
        )
        connection.execute(
            "DELETE FROM sona.batches b USING sona.cycles c "
            "WHERE c.space_id = b.space_id AND c.cycle_id = b.cycle_id AND c.version = 1"
        )
    assert engine.forget_plan(user="bob").expired == 12
    with pytest.raises(Conflict, match="retention has removed"):
        engine.forget(user="bob", key=key)
    assert engine.forget_plan(user="bob").trajectories > 0
    engine.forget(user="bob", key=key, drop_expired=True)
    assert engine.rebuild().equal
    assert engine.forget_plan(user="ann").expired == 0


def test_a_receipt_is_verified_by_key_content_and_store(engine, tmp_path, key):
    History.drawn(9, cycles=1).record(engine)
    receipt = json.loads(json.dumps(engine.forget(user="bob", key=key).as_dict()))
    assert "bob" not in json.dumps(receipt)
    assert engine.verify_receipt(receipt, key=key)
    assert not engine.verify_receipt({**receipt, "versions_dropped": []}, key=key)
    other = tmp_path / "other.key"
    other.write_text("f" * 32)
    assert not engine.verify_receipt(receipt, key=other)
    forged = Receipt.signed({**Receipt.of(receipt).facts, "cycles": 99}, Key(key.read_bytes())).as_dict()
    assert not engine.verify_receipt(forged, key=key)  # the store has another one
    with pytest.raises(InvalidValue, match="no receipt"):
        engine.verify_receipt({"a": 1}, key=key)


def test_an_erasure_names_one_subject(engine):
    for wrong in ({}, {"user": "a", "session": "b"}, {"user": ""}, {"trajectories": []}, {"trajectories": ["x"]}):
        with pytest.raises(InvalidValue):
            engine.forget_plan(**wrong)


def test_a_user_nobody_knows_is_forgotten_with_a_receipt_of_nothing(engine, key):
    receipt = engine.forget(user="nobody", key=key)  # also before anything was learned
    assert receipt.facts["removed"]["trajectories"] == 0
    History.drawn(10, cycles=1).record(engine)
    before = digest(knowledge_of(engine))
    receipt = engine.forget(user="nobody", key=key)
    assert receipt.facts["state_before"] == receipt.facts["state_after"] == before
    assert receipt.facts["version"] == 1  # none was published: every kept version is as it was
    assert [version.version for version in engine.versions()] == [1]
    assert engine.verify_receipt(receipt.as_dict(), key=key)
    assert engine.rebuild().equal


def test_the_hashes_of_an_erasure_name_a_subject_only_to_those_who_know_it():
    erasure = UUID(int=7)
    hashes = Subject("user", "user:bob").hashes(erasure)
    assert Subject("user", "user:bob").is_of(erasure, hashes)
    assert not Subject("user", "user:eve").is_of(erasure, hashes)
    assert Subject("user", "user:bob").hashes(UUID(int=8)) != hashes


def test_without_a_key_one_is_made_in_the_home_folder(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path / "home"))
    receipt = engine.forget(user="nobody")
    file = tmp_path / "home" / "receipt.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert engine.verify_receipt(receipt.as_dict())
    assert finish(engine._session.database, engine._session.space, CONFIG, Key(b"x" * 32)) == 0
