"""An engine's life in this process and its forked children: opened once in each, closed once in each."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from types import TracebackType
from typing import Self

from sona_pg.config import SonaConfig
from sona_pg.engine.opened_space import OpenRequest
from sona_pg.engine.session import Session
from sona_pg.errors import DatabaseError, DatabaseUnavailable, SonaError, TrajectoryError
from sona_pg.recorder import HotPath

log = logging.getLogger(__name__)

REOPEN_PAUSE = 1.0  # seconds after an attempt in a forked child that failed: others then fail at once


class EngineLifetime(HotPath):
    """The recorder of an engine, and the session that it has open in this process."""

    def __init__(self, config: SonaConfig, wanted: OpenRequest) -> None:
        """Open what is ``wanted``; see ``SonaEngine`` for what may be raised."""
        ingest = config.ingest
        super().__init__(config.hidden_dim, ingest.capacity, ingest.buffer_bytes)
        self._wishes = config
        self._wanted = wanted
        self._opening = threading.RLock()
        self._ended = self._in_opening = False
        self._failed: tuple[float, SonaError] | None = None  # when opening in a forked child did, and how
        self._inherited: list[Session] = []
        self._opened: Session | None = Session(self, config, self._wanted)
        self.renewed_by(self._renew)
        _engines.add(self)
        self._close_at_exit()

    @property
    def config(self) -> SonaConfig:
        """The configuration as it is obeyed: what a space learns with is the space's own, once it is known."""
        return self._wishes if self._opened is None else self._opened.config

    @property
    def asked_config(self) -> SonaConfig:
        """The configuration that was asked for."""
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
    def is_cut_off(self) -> bool:
        """Whether the database has not answered lately, though this process has asked."""
        return self._opened is not None and self._opened.is_cut_off

    def call_space(self, name: str) -> None:
        """Note that the space was renamed: a forked child opens it under its new name."""
        self._wanted = self._wanted._replace(space=name)
        if self._opened is not None:
            self._opened.call_space(name)

    # -- forked children ------------------------------------------------------------------------------------

    @property
    def _session(self) -> Session:
        return self._opened if self._opened is not None else self._open_in_child()

    def _leave_to_parent(self) -> None:
        """In a child, right after the fork: have nothing open, and no lock that a thread of the parent holds."""
        self._opening = threading.RLock()
        self._in_opening = False
        self._failed = None
        if self._opened is not None:
            self._inherited.append(self._opened)  # never to be collected: its connections are the parent's
        self._opened = None

    def _renew(self, must: bool) -> None:
        """Open the engine in a forked child; unless it must, an adapter is better than an error."""
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
        """Return what a child opens: the space that its parent has found, as it was called last; none that is made."""
        found = [session for session in self._inherited if session.is_attached]
        return self._wanted._replace(space=found[-1].space_name, create=False) if found else self._wanted

    def _close_if_ended(self, session: Session) -> None:
        """Close what was being opened while a signal handler called ``close``."""
        if self._ended:
            session.close()

    def _let_go_of_parents(self) -> None:
        for session in self._inherited:
            session.let_go()

    # -- the end --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Write what was accepted, stop the threads, and let go of the database. Closing twice is the same as once.

        From now on recording raises ``TrajectoryError``. A record that another thread is just recording is either
        accepted, and then written, or it raises. A signal handler may call this at any moment; in the middle of another
        call of this engine it may return before the end, which then follows; the interpreter's exit waits for it.
        In a forked child it closes what the child has opened, never its parent's engine.

        Raises:
            DatabaseUnavailable: what was accepted could not be written; the message says what becomes of it.
        """
        self._ended = True
        if self._opened is not None:
            self._opened.close()
        else:
            self.refuse_records()
            self._let_go_of_parents()
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
