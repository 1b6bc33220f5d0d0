"""A shared, persistent learning store on Postgres."""

from sona_pg._version import __version__
from sona_pg.config import SonaConfig
from sona_pg.domain.answer import Context, Decision, Ranking, Response
from sona_pg.domain.cycle import CycleResult
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.trajectory import QueryTrajectory, TrajectoryStep
from sona_pg.engine import SonaEngine
from sona_pg.errors import (
    ConfigError,
    DatabaseError,
    DatabaseUnavailable,
    DimensionMismatch,
    InvalidValue,
    LearningError,
    MemoryGraphError,
    PatternExtractionError,
    SchemaError,
    SonaError,
    StorageError,
    TrajectoryError,
)
from sona_pg.learning.ewc import EwcPlusPlus
from sona_pg.learning.reasoning_bank import ReasoningBank
from sona_pg.learning.signal import LearningSignal

__all__ = [
    "ConfigError",
    "Context",
    "CycleResult",
    "DatabaseError",
    "DatabaseUnavailable",
    "Decision",
    "DimensionMismatch",
    "EwcPlusPlus",
    "InvalidValue",
    "LearnedPattern",
    "LearningError",
    "LearningSignal",
    "MemoryGraphError",
    "PatternExtractionError",
    "QueryTrajectory",
    "Ranking",
    "ReasoningBank",
    "Response",
    "SchemaError",
    "SonaConfig",
    "SonaEngine",
    "SonaError",
    "StorageError",
    "TrajectoryError",
    "TrajectoryStep",
    "__version__",
]
