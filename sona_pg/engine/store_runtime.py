"""Store: many spaces of one database in one process, with shared connections and threads."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from types import TracebackType
from typing import Self

from sona_pg.config import Environment, Migrate, SonaConfig, migrate_policy
from sona_pg.engine.held_engines import HeldEngines
from sona_pg.engine.key_calls import KeyCalls
from sona_pg.engine.process_runtime import CONNECTIONS, ProcessRuntime, replica_of, runtimes
from sona_pg.engine.sona_engine import SonaEngine
from sona_pg.errors import ConfigError, DatabaseUnavailable, SonaError
from sona_pg.serving.last_version import load, path_for
from sona_pg.store.connect import place_of
from sona_pg.store.database import Database
from sona_pg.text.embedder import Embedder


class Store(KeyCalls):
    """The runtime of one process and one database: a pool of connections, and a few threads, for all its spaces.

    ``space`` opens one. Engines opened by ``SonaEngine`` share the runtime of their database with it; the last to be
    closed ends it. In a forked child the first use begins a separate runtime. Close it, or use ``with``: that closes
    the engines that it has opened.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        migrate: Migrate | None = None,
        require_database: bool = False,
        connections: int = CONNECTIONS,
        read_url: str | None = None,
        read_lag: float | None = None,
    ) -> None:
        """Open the database, migrating its schema.

        Args:
            url: the database; else ``SONA_PG_URL``, else the embedded Postgres in ``SONA_PG_HOME``.
            migrate: the policy for an older schema; see ``SonaEngine``.
            require_database: raise ``DatabaseUnavailable`` if the database does not answer now, also when a space is
                opened. Otherwise spaces are opened without it, and catch up once it answers.
            connections: the largest number for writing (2) and calls together, at least 3; the first engine or store of
                a database sets it.
            read_url: a standby for search and analytics; else ``SONA_PG_READ_URL``. It is left while it does not
                answer, or lags too much. The first engine or store of a database sets it.
            read_lag: seconds that the standby may lag; else ``SONA_PG_READ_LAG``, else 10.

        Raises:
            ConfigError: a setting is invalid.
            SchemaError: the schema is newer than this release, or older and ``migrate`` says ``"check"``.
            DatabaseError: Postgres does not meet the requirements.
            StorageError: the embedded server's data folder cannot be used.
        """
        if not isinstance(connections, int) or connections < 3:
            raise ConfigError(f"connections={connections!r} cannot work: expected 3 or more")
        environment = Environment.read()
        self._url = url or environment.url
        self._home = environment.home
        self._migrate = environment.migrate if migrate is None else migrate_policy(migrate, "migrate")
        self._require_database = require_database
        self._connections = connections
        self._replica = replica_of(environment, read_url, read_lag)
        self._engines = HeldEngines()
        self._ended = False
        # By process. Changed by atomic operations only: the thread that removes a runtime releases it.
        self._runtimes = {os.getpid(): self._begin()}
        _stores.add(self)
        atexit.register(self.close)

    def _begin(self) -> ProcessRuntime:
        runtime = runtimes.take(self._url, self._home, self._connections, self._replica)
        try:
            runtime.prepare(self._migrate)
        except DatabaseUnavailable:
            if self._require_database or runtime.embedded is not None:
                runtimes.release(runtime)
                raise
        except BaseException:
            runtimes.release(runtime)
            raise
        return runtime

    def _running(self) -> ProcessRuntime:
        """Return the runtime of this process; a forked child has its own."""
        runtime = self._runtimes.get(os.getpid())
        if runtime is None or self._ended:
            self._require_open()
            with self._engines.lock:
                runtime = self._runtimes.get(os.getpid()) or self._begin_in_child()
            self._let_go_if_ended()
        return runtime

    def _begin_in_child(self) -> ProcessRuntime:
        begun = self._begin()
        runtime = self._runtimes.setdefault(os.getpid(), begun)
        if runtime is not begun:  # a signal handler has opened the store in between
            _give_back(begun)
        self._let_go_of_parents()
        return runtime

    def _require_open(self) -> None:
        if self._ended:
            raise ConfigError("the store is closed: open another one")

    def _let_go_if_ended(self) -> None:
        """Release a runtime that was being begun while another thread, or a signal handler, called ``close``."""
        if self._ended:
            self._let_go()
            self._require_open()

    def _let_go(self) -> None:
        self._let_go_of_parents()
        runtime = self._runtimes.pop(os.getpid(), None)
        if runtime is not None:
            _give_back(runtime)

    def _let_go_of_parents(self) -> None:
        for pid in [pid for pid in list(self._runtimes) if pid != os.getpid()]:
            inherited = self._runtimes.pop(pid, None)
            if inherited is not None:
                inherited.let_go()

    @property
    def url(self) -> str:
        """The database's URL, for psycopg or psql; the embedded server answers while a store or engine is open."""
        return self._running().url

    def dim_of(self, name: str) -> int | None:
        """Return the dimension of a space, while the database is away that of its version kept on this machine.

        Returns:
            None if there is no such space.

        Raises:
            DatabaseUnavailable: nobody knows it now.
        """
        runtime = self._running()
        try:
            return self._database().dim_of(name)
        except DatabaseUnavailable:
            kept = load(path_for(runtime.home, place_of(runtime.url), name))
            if kept is None:
                raise
            return kept[0].dim

    def space(
        self,
        name: str,
        hidden_dim: int | None = None,
        *,
        config: SonaConfig | None = None,
        embedder: Embedder | None = None,
        create: bool = True,
    ) -> SonaEngine:
        """Return the engine of a space, opened at the first call for its name; see ``SonaEngine``.

        Each call asks the database which space has this name now: an engine whose space another process has renamed or
        removed stays usable for its callers, until the store is closed.

        Args:
            name: of the space.
            hidden_dim: its embedding dimension; by default that of ``config``, else the one it has, else 256.
            config: all other settings.
            embedder: for ``process``.
            create: whether to create a missing space.

        Raises:
            ConfigError: the space is open with other arguments; otherwise as ``SonaEngine``.
        """
        runtime = self._running()
        wanted = config or SonaConfig()
        said = hidden_dim if hidden_dim is not None or "hidden_dim" not in wanted.given else wanted.hidden_dim
        with self._engines.lock:
            engine = self._engines.find(name, runtime)
            if engine is None:
                engine = SonaEngine(
                    said,
                    self._url,
                    name,
                    config=config,
                    embedder=embedder,
                    create=create,
                    migrate=self._migrate,
                    require_database=self._require_database,
                )
                self._engines.put(name, engine)
            elif (said is not None and engine.dim != said) or (
                config is not None and engine.asked_config != wanted.replace(hidden_dim=engine.dim)
            ):
                raise ConfigError(
                    f"space {name!r} is open in this store with hidden_dim={engine.dim} and a configuration of its "
                    "own: close that engine first, or ask with the same arguments"
                )
        if self._ended:  # closed since this call began: close() may not have seen the engine
            engine.close()
            self._require_open()
        return engine

    def _held(self, name: str) -> SonaEngine | None:
        return self._engines.find(name, self._running())

    def _database(self) -> Database:
        runtime = self._running()
        runtime.prepare(self._migrate)
        return runtime.database

    def close(self) -> None:
        """Close every engine that this store has opened, and release the database. A signal handler may call this.

        A thread that is just opening a space closes it again, and its call raises ``ConfigError``.

        Raises:
            SonaError: the first error of closing an engine; all are closed.
        """
        self._ended = True  # first, so that a thread that is opening a space closes it again
        atexit.unregister(self.close)
        problem: SonaError | None = None
        for engine in self._engines.opened:
            try:
                engine.close()
            except SonaError as exc:
                problem = problem or exc
        self._let_go()
        if problem is not None:
            raise problem

    def __enter__(self) -> Self:
        self._running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _give_back(runtime: ProcessRuntime) -> None:
    """Release a runtime; in a separate thread if a signal handler has interrupted taking or releasing one."""
    if runtimes.held_here:
        threading.Thread(target=runtimes.release, args=(runtime,), name="sona-pg closer").start()
    else:
        runtimes.release(runtime)


_stores: weakref.WeakSet[Store] = weakref.WeakSet()


def _leave_to_parents() -> None:
    for store in list(_stores):
        store._engines.leave_to_parent()


os.register_at_fork(after_in_child=_leave_to_parents)
