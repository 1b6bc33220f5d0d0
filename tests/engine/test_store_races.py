"""A store closed while it opens a space leaves nothing open, whichever thread closes it."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

import sona_pg.engine.store_runtime
from sona_pg import ConfigError, SonaConfig, SonaEngine, Store
from sona_pg.config import LoopConfig, MaintenanceConfig
from sona_pg.engine.process_runtime import ProcessRuntime, Runtimes, runtimes

pytestmark = pytest.mark.no_vectors

DIM = 8
QUIET = SonaConfig(
    hidden_dim=DIM, loops=LoopConfig(automatic=False, poll_interval=0.1), maintenance=MaintenanceConfig(automatic=False)
)


def test_a_store_closed_by_another_thread_leaves_nothing_open(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, opened = Store(database_url), []
    opening, closed = threading.Event(), threading.Event()

    def open_late(*args: Any, **wanted: Any) -> SonaEngine:
        opening.set()
        closed.wait()
        opened.append(SonaEngine(*args, **wanted))
        return opened[0]

    def use() -> None:
        with pytest.raises(ConfigError, match="the store is closed"):
            store.space("a", config=QUIET)

    monkeypatch.setattr(sona_pg.engine.store_runtime, "SonaEngine", open_late)
    user = threading.Thread(target=use)
    user.start()
    opening.wait()
    store.close()
    closed.set()
    user.join()
    assert opened[0].is_closed
    assert runtimes._running == {}


@pytest.mark.parametrize("interrupted", ["take", "begin", "release"])
def test_a_signal_handler_that_closes_the_store_leaves_nothing_open(
    database_url: str, monkeypatch: pytest.MonkeyPatch, interrupted: str
) -> None:
    store = Store(database_url)
    where = {"take": (ProcessRuntime, "begin"), "begin": (ProcessRuntime, "prepare"), "release": (Runtimes, "release")}
    owner, name = where[interrupted]
    original = getattr(owner, name)

    def interrupt(self: Any, *args: Any) -> Any:
        monkeypatch.setattr(owner, name, original)
        with runtimes._lock:  # the worst place
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(self, *args)

    before = signal.signal(signal.SIGUSR1, lambda *_: store.close())
    try:
        kept = SonaEngine(DIM, database_url, "kept", config=QUIET)
        engine = store.space("a", config=QUIET) if interrupted == "release" else None
        monkeypatch.setattr(owner, name, interrupt)
        if engine is not None:
            store.close()
            assert engine.is_closed
        else:
            with pytest.raises(ConfigError, match="the store is closed"):
                store.space("a", config=QUIET)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [known.is_closed for known in store._engines.opened] == [True]
    kept.close()
    for thread in threading.enumerate():
        if thread.name == "sona-pg closer":
            thread.join()
    assert runtimes._running == {}
