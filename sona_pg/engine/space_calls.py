"""Calls of a store about its spaces: what they learn with, their names, their embeddings, their end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from sona_pg.domain.space import SpaceSummary
from sona_pg.engine.held_engines import HeldEngines
from sona_pg.engine.sona_engine import SonaEngine
from sona_pg.store.database import Database
from sona_pg.worker.reembedding import CandidateTexts, Embed, Progress, ReembedResult, catch_up, reembed


class SpaceCalls(ABC):
    """Operations on a space by its name, whether this store has it open or not."""

    _engines: HeldEngines

    @abstractmethod
    def _database(self) -> Database:
        """Return the database of this process, with its schema in order."""

    @abstractmethod
    def _held(self, name: str) -> SonaEngine | None:
        """Return this store's open engine of the space that is called ``name`` now."""

    def spaces(self) -> list[SpaceSummary]:
        """Return all spaces of the database by name, whoever has made them."""
        return self._database().summarise_spaces()

    def settings(self, name: str) -> Mapping[str, Any]:
        """Return what a space learns with, by dotted name such as ``base.rank``; ``UnknownSpace`` if there is none."""
        return self._database().find_space(name).settings

    def set_settings(self, name: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change what a space learns with; see ``SonaEngine.set_settings``. ``UnknownSpace`` if there is none."""
        engine = self._held(name)
        if engine is not None:
            return engine.set_settings(changes)
        database = self._database()
        return database.set_settings(database.find_space(name), changes)

    def rename_space(self, name: str, new_name: str) -> None:
        """Give a space another name; engines that have it open, here and elsewhere, go on.

        Raises:
            InvalidValue: the new name cannot be used.
            UnknownSpace: there is no space of the old name.
            SpaceExists: there is one of the new name.
        """
        database = self._database()
        with self._engines.lock:
            engine = self._held(name)
            database.rename_space(name, new_name)
            if engine is not None:
                self._engines.rename(engine, new_name)

    def reembed_space(
        self,
        name: str,
        embed: Embed,
        dim: int,
        *,
        candidate_texts: CandidateTexts | None = None,
        progress: Progress = lambda done, total: None,
    ) -> ReembedResult:
        """Give a space new embeddings of ``dim`` dimensions from its stored texts; see ``reembedding.reembed``.

        This store's engine of the space is closed after the switch, and what it had recorded until then is taken over;
        ``space(name)`` opens the new one. Engines elsewhere go on with the old space: see ``catch_up_space``.
        """
        database = self._database()
        before = self._held(name)
        done = reembed(database, name, embed, dim, candidate_texts=candidate_texts, progress=progress)
        engine = self._held(done.kept_as) or before
        if engine is None:
            return done
        self._engines.drop(engine)
        engine.close()
        return catch_up(database, name, embed, candidate_texts=candidate_texts)

    def catch_up_space(
        self, name: str, embed: Embed, *, candidate_texts: CandidateTexts | None = None
    ) -> ReembedResult:  # fmt: skip
        """Take over what engines elsewhere have recorded into the old space since ``reembed_space`` gave it another."""
        return catch_up(self._database(), name, embed, candidate_texts=candidate_texts)

    def remove_space(self, name: str) -> dict[str, int]:
        """Delete a space with everything in it; return how many rows of each table.

        This store's engine of the space is closed first; in engines elsewhere recording ends with ``SpaceRemoved``.

        Raises:
            UnknownSpace: there is none of that name.
        """
        database = self._database()
        engine = self._held(name)
        if engine is not None:
            self._engines.drop(engine)
            engine.close()
        return database.remove_space(name)
