"""Every error this package raises on purpose.

Each message names the value that was wrong, what was expected, and what to do.
"""

from __future__ import annotations

SOURCE_TREE = (
    "sona_pg was found as a source tree that is not installed, such as a clone in whose folder Python was started: run "
    "`pip install -e .` in the clone, or start Python in another folder"
)


class SonaError(Exception):
    """Base of all errors of sona-pg."""


class Unavailable(SonaError):
    """A service does not answer now; the same call may succeed later."""


class NotFound(SonaError):
    """The named object does not exist."""


class Conflict(SonaError):
    """The request conflicts with the current state."""


class InvalidValue(SonaError, ValueError):
    """The caller's data is invalid: not finite, out of range, or of the wrong type."""


class WrongType(InvalidValue, TypeError):
    """A number was expected, and text or a truth value was given."""


class UnknownCandidate(InvalidValue, NotFound):
    """A candidate was named by its id alone, and no version or server knows it."""


FEATURES = "features"  # of a decision: their number is no dimension of the space


class DimensionMismatch(InvalidValue):
    """An array's length differs from the dimension that was expected."""

    def __init__(self, expected: int, actual: int, what: str = "embedding") -> None:
        if what == FEATURES:
            told = (
                f"{actual} features, expected {expected}, with which the router was taught: "
                "pass the same ones in every call of the space (a query makes 3)"
            )
        else:
            told = (
                f"{what} has {actual} dimensions, expected {expected}: "
                f"use the space's own embedder, or open a space of dimension {actual}"
            )
        super().__init__(told)
        self.expected = expected
        self.actual = actual


class ConfigError(SonaError):
    """A setting has an invalid value."""


class SettingsConflict(ConfigError, Conflict):
    """A space was opened with other settings than those it learns with."""


class EmbedderChanged(SettingsConflict):
    """An embedder is another model than the one with which the space learns, though of its dimension."""

    def __init__(self, name: str, cosine: float) -> None:
        super().__init__(
            f"space {name!r} learns with another embedding model: of a fixed text this embedder gives another "
            f"vector than its own did (cosine {cosine:.2f}). Open it with that model, or give it the vectors of the "
            "new one: sona-pg space reembed"
        )


class StorageError(SonaError):
    """A file or folder (data folder, spool, saved version) cannot be used."""


class DatabaseError(SonaError):
    """Postgres cannot be reached, does not meet the requirements, or refused a statement."""


class DatabaseUnavailable(DatabaseError, Unavailable):
    """Postgres does not answer now; the same call may succeed later."""


class DatabaseRefused(DatabaseError):
    """Postgres refused a login or a statement, and will refuse it again until an administrator mends what it names."""

    def __init__(self, told: str, lacks: str = "") -> None:
        super().__init__(told)
        self.lacks = lacks  # words of Postgres about the missing privilege, without the address; else empty


class UnknownSpace(DatabaseError, NotFound):
    """There is no space of that name."""


class SpaceExists(DatabaseError, Conflict):
    """There is a space of that name already."""


class SpaceRemoved(DatabaseError, NotFound):
    """The space was removed while an engine had it open, or its store was replaced by one without it."""

    def __init__(self, name: str, given_up: str = "", *, replaced: bool = False) -> None:
        why = "was removed while this engine had it open"
        if replaced:
            why = (
                "is not in this store any more: a restore gave its number to another one while this engine had it open"
            )
        super().__init__(
            f"space {name!r} {why}: nothing more is recorded into it{given_up}; "
            "close the engine, and open a space that is there"
        )
        self.name = name
        self.replaced = replaced  # another space has its number now


class UnknownVersion(DatabaseError, NotFound):
    """The space has no such version: it was pruned, or never published."""


class VersionNotKept(UnknownVersion):
    """The version has no stored content: an earlier release made it."""


class VersionConflict(DatabaseError, Conflict):
    """The version cannot be made live: it is already, never was, or would restore unlearned data."""


class SchemaError(DatabaseError):
    """The database's schema is missing, or newer than this release."""


class UnknownFormat(DatabaseError):
    """A version in the store was written by a later release, in a format that this one does not know."""


class DamagedVersion(DatabaseError):
    """A version in the store cannot be read: something other than sona-pg has changed its bytes."""


class TrajectoryError(SonaError):
    """Invalid use of a trajectory or of feedback, such as a step after the end."""


class UnknownTrajectory(TrajectoryError, NotFound):
    """The trajectory is open neither in this process nor, shared, in the store."""


class UnknownPattern(NotFound):
    """The live version of a space has no pattern of this id: it was merged, dropped, or never there."""


class UnknownKey(NotFound):
    """The space has no such API key."""


class PatternExtractionError(SonaError):
    """Patterns could not be extracted from the input."""


class LearningError(SonaError):
    """A learner met input or state it cannot learn from."""


class LearningConflict(LearningError, Conflict):
    """Another learner of the space was faster; nothing has changed, and its facts are learned by the other."""


class UnsoundVersion(LearningError, Conflict):
    """A version cannot go live: it is not finite, too large, or of another dimension than the space."""


class HistoryExpired(LearningError, Conflict):
    """An exact erasure would drop what trajectories have taught that retention has removed since."""


class MemoryGraphError(SonaError):
    """The memory graph lacks the requested object."""
