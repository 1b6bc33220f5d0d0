"""Every error this package raises on purpose.

Each message names the value that was wrong, what was expected, and what to do.
"""

from __future__ import annotations


class SonaError(Exception):
    """Base of all errors of sona-pg."""


class ConfigError(SonaError):
    """A setting has a value that cannot work."""


class StorageError(SonaError):
    """Something durable other than the database (a data folder, a spool file) cannot be used."""


class DatabaseError(SonaError):
    """Postgres cannot be reached, is not fit for use, or refused a statement."""


class DatabaseUnavailable(DatabaseError):
    """Postgres does not answer now; the same call may succeed later."""


class SpaceRemoved(DatabaseError):
    """The space was removed while an engine had it open."""

    def __init__(self, name: str, given_up: str = "") -> None:
        super().__init__(
            f"space {name!r} was removed while this engine had it open: nothing more is recorded into it{given_up}; "
            "close the engine, and open a space that is there"
        )
        self.name = name


class SchemaError(DatabaseError):
    """The database's schema is missing, or newer than this release."""


class UnknownFormat(DatabaseError):
    """A version in the store was written by a later release, in a format that this one does not know."""


class TrajectoryError(SonaError):
    """A trajectory or its feedback was used in a way that has no meaning."""


class PatternExtractionError(SonaError):
    """Patterns could not be extracted from what was given."""


class LearningError(SonaError):
    """A learner met input or state it cannot learn from."""


class LearningConflict(LearningError):
    """Another learner of the space was faster; nothing has changed, and its facts are learned by the other."""


class MemoryGraphError(SonaError):
    """The memory graph was asked for something it does not hold."""


class DimensionMismatch(SonaError, ValueError):
    """An array's length differs from the dimension that was expected."""

    def __init__(self, expected: int, actual: int, what: str = "embedding") -> None:
        super().__init__(
            f"{what} has {actual} dimensions, expected {expected}: "
            f"use the space's own embedder, or open a space of dimension {actual}"
        )
        self.expected = expected
        self.actual = actual


class InvalidValue(SonaError, ValueError):
    """A value is outside what it may be: not finite, not in range, or of the wrong type."""
