"""Calls of a store about its spaces: settings, renaming, re-embedding, removal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sona_pg.domain.act import Act
from sona_pg.domain.space import SpaceSummary
from sona_pg.domain.space_figures import SpaceFigures
from sona_pg.domain.strayed_feedback import StrayedFeedback
from sona_pg.engine.held_engines import HeldEngines
from sona_pg.engine.sona_engine import SonaEngine
from sona_pg.serving.arguments import require_count
from sona_pg.store.database import Database
from sona_pg.worker.candidate_texts import CandidateTexts
from sona_pg.worker.reembedding import Embed, Progress, ReembedResult, catch_up, reembed


class SpaceCalls(ABC):
    """Operations on a space by its name, open in this store or not."""

    _engines: HeldEngines

    @abstractmethod
    def _database(self) -> Database:
        """Return the database of this process, with its schema checked."""

    @abstractmethod
    def _held(self, name: str) -> SonaEngine | None:
        """Return this store's open engine of the space now called ``name``."""

    def spaces(self) -> list[SpaceSummary]:
        """Return all spaces of the database by name."""
        return self._database().summarise_spaces()

    def space_figures(self, space_id: int | None = None) -> list[SpaceFigures]:
        """Return counters and state of learning of the space with this number, or of all, whoever has them open.

        Raises:
            DatabaseUnavailable: there is no answer within seconds, because a lock is held, for instance.
        """
        return self._database().space_figures(space_id)

    def strayed_feedback(self, space_id: int | None = None) -> list[StrayedFeedback]:
        """Return the spaces, or the one with this number, with facts of the last week whose trajectory has not come.

        Facts of the last hour are left out: their trajectory may be on its way. Those on ids from before what retention
        keeps are counted apart.

        Raises:
            DatabaseUnavailable: there is no answer within seconds.
        """
        return self._database().strayed_feedback(space_id)

    def upkeep_times(self) -> Mapping[str, datetime]:
        """Return when maintenance (``maintained``) and ``sona-pg dump`` (``dumped``, if ever) ended well last.

        Raises:
            DatabaseUnavailable: there is no answer within seconds.
        """
        return self._database().upkeep_times()

    def space_names(self, name: str, space_id: int | None = None) -> dict[int, str]:
        """Return the present names, by number, of the space called ``name`` and of the one with this number."""
        return {number: found.name for number, found in self._database().space_names(name, space_id).items()}

    def settings(self, name: str) -> Mapping[str, Any]:
        """Return a space's learning settings, by dotted name as in ``base.rank``; ``UnknownSpace`` if it is missing."""
        return self._database().find_space(name).settings

    def set_settings(self, name: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change learning settings of a space; see ``SonaEngine.set_settings``. ``UnknownSpace`` if it is missing."""
        engine = self._held(name)
        if engine is not None:
            return engine.set_settings(changes)
        database = self._database()
        return database.set_settings(database.find_space(name), changes)

    def acts(self, space: str | None = None, limit: int = 50) -> list[Act]:
        """Return the latest administrative acts, newest first: of a space, or of the whole store.

        Each was recorded in the transaction that did it: who made, changed, removed or erased what.
        """
        database = self._database()
        return database.acts(None if space is None else database.find_space(space), require_count(limit, what="limit"))

    def rename_space(self, name: str, new_name: str) -> None:
        """Rename a space; engines that have it open, here and elsewhere, continue.

        Raises:
            InvalidValue: the new name cannot be used.
            UnknownSpace: there is no space of the old name.
            SpaceExists: the new name is taken.
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

        This store's engine of the space is closed after the switch, and its records up to then are copied;
        ``space(name)`` opens the new space. Engines elsewhere continue with the old one: see ``catch_up_space``.
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
        """Copy the records that engines elsewhere have written to the old space since ``reembed_space``."""
        return catch_up(self._database(), name, embed, candidate_texts=candidate_texts)

    def remove_space(self, name: str) -> dict[str, int]:
        """Delete a space with all its rows; return their number by table.

        This store's engine of the space is closed first; engines elsewhere raise ``SpaceRemoved`` on recording.

        Raises:
            UnknownSpace: there is none of that name.
        """
        database = self._database()
        engine = self._held(name)
        if engine is not None:
            self._engines.drop(engine)
            engine.close()
        return database.remove_space(name)
