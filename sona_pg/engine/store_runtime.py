"""Store: many spaces of one database in one process, which share connections and threads."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from types import TracebackType
from typing import Self

from sona_pg.config import Environment, Migrate, SonaConfig, migrate_policy
from sona_pg.engine.held_engines import HeldEngines
from sona_pg.engine.process_runtime import CONNECTIONS, ProcessRuntime, runtimes
from sona_pg.engine.sona_engine import SonaEngine
from sona_pg.engine.space_calls import SpaceCalls
from sona_pg.errors import ConfigError, DatabaseUnavailable, SonaError
from sona_pg.store.database import Database
from sona_pg.text.embedder import Embedder


class Store(SpaceCalls):
    """The runtime of one process and one database: a pool of connections, and a few threads, for all its spaces.

    ``space`` opens one. Engines that are opened with ``SonaEngine`` alone share the runtime of their database with
    it; the last to be closed ends it. In a forked child the first use begins a runtime of the child's own. Close it,
    or use ``with``: that closes the engines that it has opened.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        migrate: Migrate | None = None,
        require_database: bool = False,
        connections: int = CONNECTIONS,
    ) -> None:
        """Open the database, bringing its schema up to date.

        Args:
            url: the database; else ``SONA_PG_URL``, else the embedded Postgres in ``SONA_PG_HOME``.
            migrate: what to do about an older schema; see ``SonaEngine``.
            require_database: raise ``DatabaseUnavailable`` if the database does not answer now, also when a space is
                opened. Otherwise spaces are opened without it, and catch up once it answers.
            connections: for writing (2) and for calls at most, 3 or more; the first engine or store of a database
                sets it.

        Raises:
            ConfigError: a setting cannot work.
            SchemaError: the schema is newer than this release, or older and ``migrate`` says ``"check"``.
            DatabaseError: Postgres is not fit for use.
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
        self._engines = HeldEngines()
        self._ended = False
        # By process. Changed by single operations only: whoever takes a runtime out lets go of it.
        self._runtimes = {os.getpid(): self._begin()}
        _stores.add(self)
        atexit.register(self.close)

    def _begin(self) -> ProcessRuntime:
        runtime = runtimes.take(self._url, self._home, self._connections)
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
        """Return the runtime of this process: in a forked child, one of its own."""
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
        if runtime is not begun:  # a signal handler has used the store meanwhile
            _give_back(begun)
        self._let_go_of_parents()
        return runtime

    def _require_open(self) -> None:
        if self._ended:
            raise ConfigError("the store is closed: open another one")

    def _let_go_if_ended(self) -> None:
        """Let go of what was being begun while another thread, or a signal handler, called ``close``."""
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

        A name means the space that is called so now, which each call asks the database: after another process has
        renamed or removed a space, its engine stays with those who have it, until the store is closed.

        Args:
            name: of the space.
            hidden_dim: its embedding dimension; by default that of ``config``, which is 256 if it does not say.
            config: all other settings.
            embedder: for ``process``.
            create: whether to make the space if there is none of that name.

        Raises:
            ConfigError: the space is open with other arguments; or as ``SonaEngine`` says.
        """
        runtime = self._running()
        wanted = config or SonaConfig()
        dim = wanted.hidden_dim if hidden_dim is None else hidden_dim
        with self._engines.lock:
            engine = self._engines.find(name, runtime)
            if engine is None:
                engine = SonaEngine(
                    dim,
                    self._url,
                    name,
                    config=config,
                    embedder=embedder,
                    create=create,
                    migrate=self._migrate,
                    require_database=self._require_database,
                )
                self._engines.put(name, engine)
            elif engine.dim != dim or (config is not None and engine.asked_config != wanted.replace(hidden_dim=dim)):
                raise ConfigError(
                    f"space {name!r} is open in this store with hidden_dim={engine.dim} and a configuration of its "
                    "own: close that engine first, or ask with the same arguments"
                )
        if self._ended:  # since this call began: close() may not have seen the engine
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
        """Close every engine that this store has opened, and let go of the database. A signal handler may call this.

        A space that another thread is just opening is closed by that thread, whose call raises ``ConfigError``.

        Raises:
            SonaError: the first of what closing an engine has raised; all are closed.
        """
        self._ended = True  # first: whoever is opening something closes it then
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
    """Release a runtime; in a thread of its own where a signal handler has interrupted taking or releasing one."""
    if runtimes.held_here:
        threading.Thread(target=runtimes.release, args=(runtime,), name="sona-pg closer").start()
    else:
        runtimes.release(runtime)


_stores: weakref.WeakSet[Store] = weakref.WeakSet()


def _leave_to_parents() -> None:
    for store in list(_stores):
        store._engines.leave_to_parent()


os.register_at_fork(after_in_child=_leave_to_parents)
