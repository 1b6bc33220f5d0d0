"""Defects found by an adversarial review, unless they have a file of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest
from fix_proxy import Proxy

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import IngestConfig, LoopConfig
from sona_pg.errors import DatabaseUnavailable, InvalidValue
from sona_pg.ingest import writer
from sona_pg.store.connect import place_of

DIM = 4
ROW = np.ones((1, DIM), np.float32)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path))
    monkeypatch.setattr(writer.Writer.close, "__defaults__", (0.5,))
    return tmp_path


def opened(url: str, durability: str = "memory", capacity: int = 10_000) -> SonaEngine:
    ingest = IngestConfig(durability=durability, capacity=capacity)  # type: ignore[arg-type]
    return SonaEngine(DIM, url, config=SonaConfig(loops=LoopConfig(automatic=False, poll_interval=0.1), ingest=ingest))


def record(engine: SonaEngine, n: int) -> None:
    for _ in range(n):
        engine.end_trajectory(engine.begin_trajectory(ROW[0]), 1.0)


def scalar(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchone()[0]  # type: ignore[index, call-overload]


@pytest.mark.parametrize("durability", ["memory", "spool"])
def test_records_that_wait_for_candidates_are_kept_as_well(proxy: Proxy, database_url, durability):
    """The batch has left the buffer when storing the candidates that it may name is given up."""
    engine = opened(proxy.url, durability)
    engine.flush()
    proxy.refuse()
    engine.remember(["a"], ROW)
    record(engine, 2)
    while not engine._session.writer._link.retries:
        pass
    with pytest.raises(DatabaseUnavailable, match="2 records"):
        engine.close()
    proxy.accept()
    with opened(proxy.url) as engine:
        engine.flush()
    assert scalar(database_url, "SELECT count(*) FROM sona.trajectories") == 2
    assert scalar(database_url, "SELECT count(*) FROM sona.candidates") == 1


def test_an_embedding_that_was_remembered_last_wins_though_it_is_replayed(proxy: Proxy, database_url):
    with opened(proxy.url) as engine:
        engine.remember(["a", "b"], [[1, 0, 0, 0], [1, 0, 0, 0]])
        engine.flush()
        proxy.refuse()
        engine.remember(["a", "b"], [[0, 1, 0, 0], [0, 1, 0, 0]])
        with suppress(DatabaseUnavailable):
            engine.close()
    with opened(database_url) as engine:  # as if another machine gave feedback on b meanwhile
        pass
    with psycopg.connect(database_url) as connection:
        later = datetime.now(UTC) + timedelta(minutes=1)
        connection.execute("UPDATE sona.candidates SET embedding = '[0,0,1,0]', recorded_at = %s"
                           " WHERE candidate_id = 'b'", [later])  # fmt: skip
    proxy.accept()
    with opened(proxy.url) as engine:
        engine.flush()
    assert scalar(database_url, "SELECT embedding::text FROM sona.candidates WHERE candidate_id = 'a'") == "[0,1,0,0]"
    assert scalar(database_url, "SELECT embedding::text FROM sona.candidates WHERE candidate_id = 'b'") == "[0,0,1,0]"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("postgresql://u:p@127.0.0.1/x", "postgresql://v@localhost:5432/x?application_name=shop", True),
        ("postgresql://u@h/x?connect_timeout=3", "postgresql+psycopg://u@H/x?sslmode=require", True),
        ("postgresql://u@h/x", "postgresql://u@h/y", False),
        ("postgresql://u@h:5433/x", "postgresql://u@h/x", False),
        ("postgresql://u@/x?host=/run/a", "postgresql://u@/x?host=/run/b", False),
        ("postgresql://u@h/x?hostaddr=10.0.0.1", "postgresql://u@h/x?hostaddr=10.0.0.2", False),
        ("postgresql://?service=a", "postgresql://?service=b", False),
    ],
)
def test_a_database_is_known_by_where_it_is_not_by_how_its_url_is_spelt(one, other, same):
    assert (place_of(one) == place_of(other)) == same


def test_records_of_one_dimension_are_not_read_as_damaged_by_another(proxy: Proxy, home):
    proxy.refuse()
    engine = opened(proxy.url)
    record(engine, 3)
    with pytest.raises(DatabaseUnavailable, match="are kept in"):
        engine.close()
    proxy.accept()
    with SonaEngine(DIM + 1, proxy.url) as engine:
        engine.flush()
    assert not list(home.glob("spool/*/set-aside"))
    assert list(home.glob(f"spool/pending-*-{DIM}/*/0*"))


HOLDER = """
import sys, time
import psycopg
with psycopg.connect(sys.argv[1]) as connection:
    for statement in sys.argv[2:]:
        connection.execute(statement)
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_stopped_server_does_not_keep_candidates_locked(database_url, monkeypatch):
    from sona_pg.ingest import statements
    from sona_pg.store import unit

    assert "idle_in_transaction_session_timeout" in statements.END_IF_IDLE
    assert "idle_in_transaction_session_timeout" in str(unit.END_IF_IDLE)
    with opened(database_url) as engine:
        engine.remember(["a"], ROW)
        engine.flush()
        brief = statements.END_IF_IDLE.replace("10s", "300ms")
        change = "UPDATE sona.candidates SET recorded_at = now() WHERE candidate_id = 'a'"
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, database_url, brief, change], stdout=subprocess.PIPE)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)
        try:
            engine.remember(["a"], -ROW)
            record(engine, 3)
            engine.flush(20)
        finally:
            holder.kill()
            holder.wait()
            holder.stdout.close()
    assert scalar(database_url, "SELECT count(*) FROM sona.trajectories") == 3


def test_a_locked_lease_is_not_waited_for(database_url):
    with opened(database_url) as engine:
        record(engine, 3)
        assert engine.force_learn().learned
        record(engine, 3)
        session = engine._session
        engine.flush()
        with psycopg.connect(database_url) as connection:
            connection.execute("SELECT FROM sona.leases FOR UPDATE")
            assert session._background.run_cycle_after(1) is None
        assert session._background.run_cycle_after(1).trajectories == 3


def test_a_lease_does_not_outlive_a_clock_that_was_set_back(database_url):
    with opened(database_url) as engine:
        record(engine, 3)
        engine.force_learn()
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE sona.leases SET expires_at = now() + interval '1 hour'")
        record(engine, 3)
        assert engine.force_learn().trajectories == 3


def test_an_unreadable_folder_does_not_prevent_opening(database_url, home, monkeypatch, caplog):
    from sona_pg.ingest import leftovers

    with opened(database_url, "spool"):
        [folder] = home.glob("spool/*")
    (folder / "of-another-user").mkdir()

    def refused(path: Path, dim: int) -> None:
        raise PermissionError(13, "Permission denied", str(path / "lock"))

    monkeypatch.setattr(leftovers, "Folder", refused)
    with opened(database_url) as engine:
        record(engine, 1)
        engine.flush()
    assert len([line for line in caplog.messages if "of-another-user cannot be read" in line]) == 1


def test_records_refused_in_an_outage_are_reported(proxy: Proxy, caplog):
    with opened(proxy.url, capacity=10) as engine:
        proxy.refuse()
        record(engine, 30)
        while not any("were refused so far" in line for line in caplog.messages):
            threading.Event().wait(0.05)
        proxy.accept()


def test_learning_does_not_wait_for_a_database_that_never_answered(proxy: Proxy):
    proxy.refuse()
    with opened(proxy.url) as engine:
        for call in (engine.force_learn, engine.rebuild):
            with pytest.raises(DatabaseUnavailable, match="has not answered since"):
                call()


def test_candidates_that_a_process_left_are_stored_in_parts_that_fit(proxy: Proxy, database_url, monkeypatch):
    from sona_pg.ingest import candidate_log

    proxy.refuse()
    engine = opened(proxy.url, "spool")
    engine.remember([f"c{n}" for n in range(40)], np.ones((40, DIM)))
    with suppress(DatabaseUnavailable):
        engine.close()
    usual, sizes = candidate_log.store, []

    def slow(raw, **told):
        size = sum(len(row.ids) for row in told["rows"])
        sizes.append(size)
        if size > 10:
            raw.execute("SET LOCAL statement_timeout = '1ms'")
            raw.execute("SELECT pg_sleep(1)")
        usual(raw, **told)

    monkeypatch.setattr(candidate_log, "store", slow)
    proxy.accept()
    with opened(proxy.url) as engine:
        engine.flush()
    assert scalar(database_url, "SELECT count(*) FROM sona.candidates") == 40
    assert sizes[:2] == [40, 20]


@pytest.mark.parametrize("filters", [{"min_quality": "high"}, {"min_quality": None}])
def test_filters_of_another_type_are_refused_by_name(database_url, filters):
    with opened(database_url) as engine, pytest.raises(InvalidValue, match="min_quality"):
        engine.find_patterns(ROW[0], **filters)


def test_a_search_of_a_silent_database_ends(proxy: Proxy, monkeypatch):
    from sona_pg.store import database

    monkeypatch.setattr(database, "SEARCH_LIMIT", 0.3)
    with opened(proxy.url) as engine:
        record(engine, 1)
        engine.flush()
        engine.search(ROW[0])
        proxy.stall()
        with pytest.raises(DatabaseUnavailable):
            engine.search(ROW[0])
        proxy.resume()
