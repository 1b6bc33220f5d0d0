"""The open engines of a store, by the current names of their spaces."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from sona_pg.engine.process_runtime import ProcessRuntime
from sona_pg.engine.sona_engine import SonaEngine
from sona_pg.errors import DatabaseUnavailable
from sona_pg.store.spaces import NamedSpace

FEW = 16  # open engines


class HeldEngines:
    """Engines by name. A name means the space that the database knows by it now.

    Engines whose spaces were renamed or removed elsewhere stay usable for their callers, and end with the store.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.lock = threading.RLock()  # reentrant: a signal handler may interrupt its holder, and open a space itself
        self._named: dict[str, SonaEngine] = {}
        self._by_space: dict[int, SonaEngine] = {}  # opened last
        self._unknown: list[SonaEngine] = []  # not in ``_by_space`` yet
        self._most = FEW  # open engines, above which closed ones are forgotten
        self._opened: list[SonaEngine] = []  # replaced, never mutated: signal handlers read it

    @property
    def opened(self) -> list[SonaEngine]:
        """All possibly open engines, with or without a name."""
        return self._opened

    def leave_to_parent(self) -> None:
        """Replace the lock, right after a fork: a thread of the parent may hold it."""
        self.lock = threading.RLock()

    def put(self, name: str, engine: SonaEngine) -> None:
        """Hold an engine that was opened as ``name``."""
        with self.lock:
            if len(self._opened) >= self._most:  # rarely: doing it for each new engine would be quadratic
                self._forget_closed()
            self._opened = [*self._opened, engine]
            self._unknown.append(engine)
            self._named[name] = engine

    def find(self, name: str, runtime: ProcessRuntime) -> SonaEngine | None:
        """Return the open engine of the space called ``name``, or None; this asks the database once.

        While the database is away, the names of the last answer count.
        """
        with self.lock:
            known = self._named.get(name)
            if known is not None and known.is_closed:
                known = None
            names = self._ask(name, known, runtime)
            if names is None:
                return known
            if known is not None:
                called = _name_of(known, names)
                if known.space_id is None or called == name:
                    return known
                self._call(known, called)
            number = next((number for number, space in names.items() if space.name == name), None)
            found = None if number is None else self._of_space(number)
            if found is not None and _name_of(found, names) is None:
                return None
            if found is not None:
                self._call(found, name)
            return found

    def rename(self, engine: SonaEngine, name: str) -> None:
        """Store an engine under the new name of its space."""
        with self.lock:
            self._call(engine, name)

    def drop(self, engine: SonaEngine) -> None:
        """Remove an engine's name."""
        with self.lock:
            self._named = {name: known for name, known in self._named.items() if known is not engine}

    def _ask(self, name: str, known: SonaEngine | None, runtime: ProcessRuntime) -> dict[int, NamedSpace] | None:
        """Return the names, by number, of the space called ``name`` and that of ``known``; None if unknown."""
        if known is not None and known.is_cut_off:
            return None
        if known is None and all(engine.is_closed or engine.space_id is None for engine in self._opened):
            return None
        if runtime.outage.problem is not None:
            return None
        try:
            return runtime.database.space_names(name, None if known is None else known.space_id)
        except DatabaseUnavailable as exc:
            runtime.outage.note(exc)
            return None

    def _of_space(self, number: int) -> SonaEngine | None:
        """Return the last opened engine of a space."""
        still_unknown = []
        for engine in self._unknown:
            if engine.space_id is None:
                still_unknown.append(engine)
            else:
                self._by_space[engine.space_id] = engine
        self._unknown = still_unknown
        found = self._by_space.get(number)
        return None if found is None or found.is_closed else found

    def _forget_closed(self) -> None:
        self._opened = [known for known in self._opened if not known.is_closed]
        self._unknown = [known for known in self._unknown if not known.is_closed]
        self._by_space = {number: known for number, known in self._by_space.items() if not known.is_closed}
        self._most = max(FEW, 2 * len(self._opened))

    def _call(self, engine: SonaEngine, name: str | None) -> None:
        """Set the name of an engine's space; None if the space was removed."""
        self.drop(engine)
        if name is not None:
            engine.call_space(name)
            self._named[name] = engine


def _name_of(engine: SonaEngine, names: Mapping[int, NamedSpace]) -> str | None:
    """Return the present name of an engine's space; None if it is gone, or another space has its number."""
    found = names.get(engine.space_id or 0)
    return None if found is None or engine.made_at not in (None, found.made_at) else found.name
