"""Calls about versions: list, compare, stage, promote, roll back, and carry one to another store as a file."""

from __future__ import annotations

from pathlib import Path

from sona_pg.domain.cycle import CycleResult
from sona_pg.domain.gate import Gate
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.version import RollbackResult, StoredVersion, VersionDifference
from sona_pg.engine import version_exchange
from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.learning.knowledge import initial_state
from sona_pg.serving.arguments import require_count, require_version


class VersionCalls(EngineLifetime):
    """Calls that list versions, change the live one on every server, and copy versions to files."""

    def versions(self, limit: int = 20) -> list[StoredVersion]:
        """Return the newest versions of the space, newest first, including candidates not yet promoted."""
        session = self._session
        session.require_database()
        return session.database.versions.listing(session.space, require_count(limit, what="limit"))

    def diff(self, a: int, b: int) -> VersionDifference:
        """Return the differences from version ``a`` to ``b``: patterns, routes, adapters and learned arrays.

        Raises:
            UnknownVersion: one of them is not kept.
        """
        session = self._session
        session.require_database()
        return version_exchange.compare(
            session.database, session.space, require_version(a, "a"), require_version(b, "b")
        )

    def patterns_at(self, version: int) -> list[LearnedPattern]:
        """Return the patterns of ``version``, oldest first.

        Raises:
            UnknownVersion: the version is not kept.
        """
        session = self._session
        session.require_database()
        return session.database.versions.patterns_at(session.space, require_version(version))

    def stage(self) -> CycleResult:
        """Learn from unlearned facts, one slice at most, and store the result as a candidate; the live version stays.

        The facts stay unlearned until ``promote``; a cycle that learns from them meanwhile invalidates the candidate.

        Returns:
            The cycle; its ``version`` is the candidate's number, ``base_version`` the live one.
        """
        return self._session.stage()

    def gates(self, limit: int = 20) -> list[Gate]:
        """Return how the newest versions were judged against those before them, newest first."""
        session = self._session
        session.require_database()
        return session.database.gates.listing(session.space, require_count(limit, what="limit"))

    def judge(self) -> list[Gate]:
        """Judge the versions whose gates are open by all facts since the last look; return these gates.

        A learner does so by itself. A version found worse is rolled back, a held one found good enough is promoted.
        """
        return self._session.judge()

    def promote(self, version: int) -> int:
        """Make a staged version the live one on every server; return the version served.

        Raises:
            UnknownVersion: there is no such version.
            VersionConflict: it is not a candidate.
            LearningConflict: another version has gone live since it was staged: stage again.
        """
        session = self._session
        session.require_database()
        session.database.versions.promote(session.space, session.server_id, require_version(version))
        return session.refresh()

    def rollback(self, version: int, *, keep_facts: bool = False) -> RollbackResult:
        """Make an earlier version live again on every server, to the bit; learning continues from there.

        Version numbers only rise: the content of ``version`` gets the next number. A later rollback to a version from
        before this one restores that one as well, with its facts. A learner at work meanwhile starts again.

        Args:
            version: one that was live and is kept; 0 is the state before learning.
            keep_facts: whether the facts learned since become unlearned, for the next cycle. Otherwise they are left
                out of learning, with later feedback on them: facts that made a version bad do not return.

        Raises:
            UnknownVersion: the version or its content is no longer kept.
            VersionConflict: it is live, or never was, or would restore facts that a rebuild has unlearned.
        """
        session = self._session
        session.require_database()
        nothing = initial_state(self.dim, session.config)
        asked = (session.space, session.server_id, require_version(version), nothing)
        done = session.database.versions.rollback(*asked, keep_facts=keep_facts)
        session.refresh()
        return done

    def save(self, path: str | Path, version: int | None = None) -> None:
        """Write a whole version to a file: everything that serving and further learning need.

        Args:
            path: of the file; written atomically.
            version: by default the live one.

        Raises:
            UnknownVersion: the version is not kept.
            StorageError: the file cannot be written.
        """
        session = self._session
        session.require_database()
        wanted = None if version is None else require_version(version)
        version_exchange.save(session.database, session.space, Path(path), wanted)

    def load(self, path: str | Path, publish: bool = False, *, keep_facts: bool = False) -> int:
        """Serve the version of a file written by ``save``; return the version number served.

        Without ``publish`` it is served on this server only, until a newer version is published: other servers do not
        change, learning continues from the live version, and ``metrics()["adapters"]`` names the file. A file of
        adapters by an earlier release is served as well.

        Args:
            path: of the file; its space has this one's dimension, in this store or another.
            publish: make it the live version of this space, for every server; learning continues from it.
            keep_facts: with ``publish``, whether this space's learned facts become unlearned, to be learned on top of
                the loaded version. Otherwise they are left out: a version saved here contains them already.

        Raises:
            StorageError: the file cannot be read, was cut short or changed, or is of a later release.
            DimensionMismatch: it is of another dimension.
            SettingsConflict: its adapters have other ranks or layers than this space's settings.
        """
        session = self._session
        session.require_open()
        if publish:
            session.require_database()
            version_exchange.publish(session, Path(path), keep_facts)
            return session.refresh()
        version_exchange.serve(session, Path(path))
        return session.serving.version
