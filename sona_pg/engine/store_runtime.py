"""Store: many spaces of one database in one process, which share connections and threads."""

from __future__ import annotations

import atexit
import os
import threading
from types import TracebackType
from typing import Self

from sona_pg.config import Environment, Migrate, SonaConfig, migrate_policy
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
        self._opening = threading.RLock()
        self._engines: dict[str, SonaEngine] = {}
        self._closed = False
        self._pid = os.getpid()
        self._runtime = self._begin()
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
        if self._closed:
            raise ConfigError("the store is closed: open another one")
        if self._pid != os.getpid():
            inherited, self._runtime = self._runtime, self._begin()
            # A lock of the parent's may be held by a thread that is not here.
            self._pid, self._opening = os.getpid(), threading.RLock()
            inherited.let_go()
        return self._runtime

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

        Args:
            name: of the space.
            hidden_dim: its embedding dimension; by default that of ``config``, which is 256 if it does not say.
            config: all other settings.
            embedder: for ``process``.
            create: whether to make the space if there is none of that name.

        Raises:
            ConfigError: the space is open with other arguments; or as ``SonaEngine`` says.
        """
        self._running()
        wanted = config or SonaConfig()
        dim = wanted.hidden_dim if hidden_dim is None else hidden_dim
        with self._opening:
            known = self._engines.get(name)
            if known is not None and not known.is_closed:
                if known.dim != dim or (config is not None and known.asked_config != wanted.replace(hidden_dim=dim)):
                    raise ConfigError(
                        f"space {name!r} is open in this store with hidden_dim={known.dim} and a configuration of its "
                        "own: close that engine first, or ask with the same arguments"
                    )
                return known
            opened = self._engines[name] = SonaEngine(
                dim,
                self._url,
                name,
                config=config,
                embedder=embedder,
                create=create,
                migrate=self._migrate,
                require_database=self._require_database,
            )
            return opened

    def _database(self) -> Database:
        runtime = self._running()
        runtime.prepare(self._migrate)
        return runtime.database

    def close(self) -> None:
        """Close every engine that this store has opened, and let go of the database.

        Raises:
            SonaError: the first of what closing an engine has raised; all are closed.
        """
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        problem: SonaError | None = None
        for engine in list(self._engines.values()):
            try:
                engine.close()
            except SonaError as exc:
                problem = problem or exc
        if self._pid == os.getpid():
            runtimes.release(self._runtime)
        else:
            self._runtime.let_go()
        if problem is not None:
            raise problem

    def __enter__(self) -> Self:
        self._running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
