"""Calls about versions: list, compare, stage, promote, roll back, and carry one to another store as a file."""

from __future__ import annotations

from pathlib import Path

from sona_pg.domain.cycle import CycleResult
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.version import RollbackResult, StoredVersion, VersionDifference
from sona_pg.engine import version_exchange
from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.learning.knowledge import initial_state
from sona_pg.serving.arguments import require_count, require_version


class VersionCalls(EngineLifetime):
    """Calls that see and change which version of the space is live, on every server, and copy versions to files."""

    def versions(self, limit: int = 20) -> list[StoredVersion]:
        """Return the newest versions of the space, newest first, with candidates that wait to be promoted."""
        session = self._session
        session.require_database()
        return session.database.versions.listing(session.space, require_count(limit, what="limit"))

    def diff(self, a: int, b: int) -> VersionDifference:
        """Return what differs between two versions, from ``a`` to ``b``: patterns, routes, adapters and learned arrays.

        Raises:
            UnknownVersion: one of them is not kept.
        """
        session = self._session
        session.require_database()
        return version_exchange.compare(
            session.database, session.space, require_version(a, "a"), require_version(b, "b")
        )

    def patterns_at(self, version: int) -> list[LearnedPattern]:
        """Return the patterns as ``version`` held them, oldest first.

        Raises:
            UnknownVersion: the version is not kept.
        """
        session = self._session
        session.require_database()
        return session.database.versions.patterns_at(session.space, require_version(version))

    def stage(self) -> CycleResult:
        """Learn from what waits, one slice at most, and store the result as a candidate: what is live stays live.

        The facts go on waiting until ``promote``; a cycle that learns from them meanwhile makes the candidate void.

        Returns:
            The cycle; its ``version`` is the candidate's number, ``base_version`` the live one.
        """
        return self._session.stage()

    def promote(self, version: int) -> int:
        """Make a staged version the live one on every server; return the version served.

        Raises:
            UnknownVersion: there is no such version.
            VersionConflict: it is no candidate.
            LearningConflict: another version has gone live since it was staged: stage again.
        """
        session = self._session
        session.require_database()
        session.database.versions.promote(session.space, session.server_id, require_version(version))
        return session.refresh()

    def rollback(self, version: int, *, keep_facts: bool = False) -> RollbackResult:
        """Make an earlier version live again on every server, to the bit; learning goes on from there.

        It becomes a version of its own with the next number, whose content is that of ``version``: version numbers only
        rise. A later rollback to a version from before this one brings that one back as well, with its facts.
        A learner that is at work meanwhile starts again.

        Args:
            version: one that was live and is kept; 0 is what a space serves before it has learned.
            keep_facts: whether the facts learned since wait again, and the next cycle folds them anew. Otherwise they
                are left out of learning, with what is said of them later: what made a version bad does not come back.

        Raises:
            UnknownVersion: the version, or what it held, is not there any more.
            VersionConflict: it is live, or never was, or would bring back what a rebuild has unlearned.
        """
        session = self._session
        session.require_database()
        nothing = initial_state(self.dim, session.config)
        asked = (session.space, session.server_id, require_version(version), nothing)
        done = session.database.versions.rollback(*asked, keep_facts=keep_facts)
        session.refresh()
        return done

    def save(self, path: str | Path, version: int | None = None) -> None:
        """Write a whole version to a file: all that it serves, and all that learning goes on from.

        Args:
            path: of the file; written whole or not at all.
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
        """Serve the version of a file that ``save`` wrote; return the version number that is served.

        Without ``publish`` it is served on this server only, until a newer version is published: other servers do not
        change, learning goes on from the live version, and ``metrics()["adapters"]`` names the file. A file of adapters
        that an earlier release wrote is served as well.

        Args:
            path: of the file; its space has this one's dimension, in this store or another.
            publish: make it the live version of this space, for every server; learning goes on from it.
            keep_facts: when published, whether what this space had learned waits again, to be folded into the loaded
                version. Otherwise it is left out: a version that was saved here holds it already.

        Raises:
            StorageError: the file cannot be read, was cut short or changed, or is of a later release.
            DimensionMismatch: it is of another dimension.
            SettingsConflict: its adapters have other ranks or layers than this space learns with.
        """
        session = self._session
        session.require_open()
        if publish:
            session.require_database()
            version_exchange.publish(session, Path(path), keep_facts)
            return session.refresh()
        version_exchange.serve(session, Path(path))
        return session.serving.version
