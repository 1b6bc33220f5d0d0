"""An engine's life in this process and its forked children: opened once in each, closed once in each."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from datetime import datetime
from types import TracebackType
from typing import Self

from sona_pg.config import SonaConfig
from sona_pg.engine.opened_space import OpenRequest
from sona_pg.engine.session import Session
from sona_pg.errors import DatabaseError, DatabaseUnavailable, SonaError, TrajectoryError
from sona_pg.recorder import HotPath

log = logging.getLogger(__name__)

REOPEN_PAUSE = 1.0  # seconds after a failed attempt in a forked child, during which others fail at once


class EngineLifetime(HotPath):
    """The recorder of an engine, and its open session in this process."""

    def __init__(self, config: SonaConfig, wanted: OpenRequest) -> None:
        """Open the space ``wanted``; raises as ``SonaEngine`` does."""
        ingest = config.ingest
        super().__init__(config.hidden_dim, ingest.capacity, ingest.buffer_bytes)
        self._wishes = config
        self._wanted = wanted
        self._opening = threading.RLock()
        self._ended = self._in_opening = False
        self._failed: tuple[float, SonaError] | None = None  # time and error of a failed opening in a forked child
        self._inherited: list[Session] = []
        self._opened: Session | None = Session(self, config, self._wanted)
        self.renewed_by(self._renew)
        _engines.add(self)
        self._close_at_exit()

    @property
    def config(self) -> SonaConfig:
        """The effective configuration: with the space's own learning settings, once they are known."""
        return self._wishes if self._opened is None else self._opened.config

    @property
    def asked_config(self) -> SonaConfig:
        """The configuration given by the caller."""
        return self._wishes

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called, in this process or in the one that forked it."""
        return self._ended

    @property
    def space_id(self) -> int | None:
        """The space's number; None until the database has answered."""
        known = self._opened or (self._inherited[-1] if self._inherited else None)
        return None if known is None else known.space_id

    @property
    def made_at(self) -> datetime | None:
        """When the space was made; None until the database has answered."""
        known = self._opened or (self._inherited[-1] if self._inherited else None)
        return None if known is None else known.made_at

    @property
    def is_cut_off(self) -> bool:
        """Whether the database has failed to answer this process lately."""
        return self._opened is not None and self._opened.is_cut_off

    def call_space(self, name: str) -> None:
        """Store the new name of a renamed space, under which a forked child opens it."""
        self._wanted = self._wanted._replace(space=name)
        if self._opened is not None:
            self._opened.call_space(name)

    # -- forked children ------------------------------------------------------------------------------------

    @property
    def _session(self) -> Session:
        return self._opened if self._opened is not None else self._open_in_child()

    def _leave_to_parent(self) -> None:
        """Forget the session and replace the locks, right after a fork: they belong to the parent."""
        self._opening = threading.RLock()
        self._in_opening = False
        self._failed = None
        if self._opened is not None:
            self._inherited.append(self._opened)  # kept from the garbage collector: its connections are the parent's
        self._opened = None

    def _renew(self, must: bool) -> None:
        """Open the engine in a forked child; unless ``must``, errors leave the adapter in place."""
        try:
            self._open_in_child()
        except DatabaseError as exc:
            if must:
                raise
            log.warning("the engine cannot be opened in this process yet; adapters are its parent's: %s", exc)

    def _open_in_child(self) -> Session:
        with self._opening:
            if self._opened is not None:  # another thread was faster
                return self._opened
            if self._ended:
                raise TrajectoryError("the engine is closed: open another one")
            if self._in_opening:
                raise DatabaseUnavailable("the engine is being opened in this process, and a signal handler used it")
            if self._failed is not None and time.monotonic() - self._failed[0] < REOPEN_PAUSE:
                problem = self._failed[1]
                raise DatabaseUnavailable(f"not opened in this forked process ({problem}); try again") from problem
            self._in_opening = True
            try:
                self.begin_again()
                session = Session(self, self._wishes, self._wanted_in_child())
            except SonaError as exc:
                self._failed = (time.monotonic(), exc)
                raise
            finally:
                self._in_opening = False
            self._opened = session
            self.opened_here()
            self._let_go_of_parents()
            self._close_at_exit()
        self._close_if_ended(session)
        return session

    def _wanted_in_child(self) -> OpenRequest:
        """Return the request of a child: the parent's space under its latest name, never a new one."""
        found = [session for session in self._inherited if session.is_attached]
        return self._wanted._replace(space=found[-1].space_name, create=False) if found else self._wanted

    def _close_if_ended(self, session: Session) -> None:
        """Close a session that was being opened while a signal handler called ``close``."""
        if self._ended:
            session.close()

    def _let_go_of_parents(self) -> None:
        for session in self._inherited:
            session.let_go()

    # -- the end --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Write the accepted records, stop the threads, and release the database; idempotent.

        From now on recording raises ``TrajectoryError``, and so do calls that ask the database; those answered from
        memory (``rank``, ``route``, ``find_patterns``) go on, by the version that was served last. A call in progress
        in another thread either records, and is written, or raises. A signal handler may call this at any moment; if it
        interrupts another call of this engine, it may return before the end, for which the interpreter's exit waits. In
        a forked child it closes the child's session, never its parent's.

        Raises:
            DatabaseUnavailable: accepted records could not be written; the message says where they are.
        """
        self._ended = True
        if self._opened is not None:
            has_ended = self._opened.close()
        else:
            self.refuse_records()
            self._let_go_of_parents()
            has_ended = True
        if has_ended:
            atexit.unregister(self.close)

    def _close_at_exit(self) -> None:
        """Close when the process ends; children of multiprocessing end without ``atexit``."""
        atexit.unregister(self.close)
        atexit.register(self.close)
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            from multiprocessing.util import Finalize

            Finalize(self, EngineLifetime._close_weakly, args=(weakref.ref(self),), exitpriority=0)

    @staticmethod
    def _close_weakly(engine: weakref.ref[EngineLifetime]) -> None:
        opened = engine()
        if opened is not None:
            opened.close()

    def __enter__(self) -> Self:
        self._session.require_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_engines: weakref.WeakSet[EngineLifetime] = weakref.WeakSet()


def _leave_to_parents() -> None:
    for engine in list(_engines):
        engine._leave_to_parent()


os.register_at_fork(after_in_child=_leave_to_parents)
