"""A shared, persistent learning store on Postgres.

Names are loaded when first used: ``import sona_pg`` alone costs no database driver.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sona_pg._version import __version__
    from sona_pg.config import (
        BaseConfig,
        CostConfig,
        DreamConfig,
        EwcConfig,
        GateConfig,
        IngestConfig,
        LoopConfig,
        MaintenanceConfig,
        MicroConfig,
        PatternConfig,
        SonaConfig,
    )
    from sona_pg.domain.access import ApiKey
    from sona_pg.domain.act import Act
    from sona_pg.domain.answer import (
        Context,
        Decision,
        FoundPatterns,
        FoundTrajectory,
        Interpolation,
        ParameterEvidence,
        Ranking,
        Response,
        SearchResult,
    )
    from sona_pg.domain.budget import BudgetStatus
    from sona_pg.domain.content import StoredContent
    from sona_pg.domain.cycle import CycleResult, RebuildResult
    from sona_pg.domain.deep_result import DeepResult
    from sona_pg.domain.erasure import Erasure, ErasurePlan, Receipt
    from sona_pg.domain.gate import Gate
    from sona_pg.domain.influence import Explanation, Influence
    from sona_pg.domain.memory import Dream, EdgeKind, MemoryEdge, MemoryNode, NodeKind
    from sona_pg.domain.pattern import LearnedPattern, RouteRecord
    from sona_pg.domain.policy_estimate import PolicyEstimate, PolicyEvaluation
    from sona_pg.domain.space import SpaceSummary
    from sona_pg.domain.space_figures import SpaceFigures
    from sona_pg.domain.strayed_feedback import StrayedFeedback
    from sona_pg.domain.topic import Topic
    from sona_pg.domain.trajectory import QueryTrajectory, TrajectoryStep
    from sona_pg.domain.verdict import VerdictCounts
    from sona_pg.domain.version import RollbackResult, StoredVersion, VersionDifference
    from sona_pg.engine import AsyncSonaEngine, SonaEngine, Store
    from sona_pg.engine.engine_builder import SonaEngineBuilder
    from sona_pg.errors import (
        ConfigError,
        Conflict,
        DatabaseError,
        DatabaseUnavailable,
        DimensionMismatch,
        InvalidValue,
        LearningConflict,
        LearningError,
        MemoryGraphError,
        NotFound,
        PatternExtractionError,
        SchemaError,
        SettingsConflict,
        SonaError,
        SpaceExists,
        SpaceRemoved,
        StorageError,
        TrajectoryError,
        Unavailable,
        UnknownCandidate,
        UnknownSpace,
        UnknownVersion,
        UnsoundVersion,
    )
    from sona_pg.learning.adapters.ewc import EwcPlusPlus
    from sona_pg.learning.adapters.signal import LearningSignal
    from sona_pg.recorder import Trajectory
    from sona_pg.serving.instant import InstantLoop
    from sona_pg.standalone.dream_engine import DreamEngine
    from sona_pg.standalone.lora import BaseLoRA, MicroLoRA
    from sona_pg.standalone.reasoning_bank import ReasoningBank
    from sona_pg.standalone.trajectory_buffer import TrajectoryBuffer
    from sona_pg.standalone.trajectory_builder import TrajectoryBuilder
    from sona_pg.worker.background import BackgroundLoop
    from sona_pg.worker.coordinator import LoopCoordinator
    from sona_pg.worker.deep_loop import DeepLoop
    from sona_pg.worker.reembedding import ReembedResult

__all__ = [
    "Act",
    "ApiKey",
    "AsyncSonaEngine",
    "BackgroundLoop",
    "BaseConfig",
    "BaseLoRA",
    "BudgetStatus",
    "ConfigError",
    "Conflict",
    "Context",
    "CostConfig",
    "CycleResult",
    "DatabaseError",
    "DatabaseUnavailable",
    "Decision",
    "DeepLoop",
    "DeepResult",
    "DimensionMismatch",
    "Dream",
    "DreamConfig",
    "DreamEngine",
    "EdgeKind",
    "Erasure",
    "ErasurePlan",
    "EwcConfig",
    "EwcPlusPlus",
    "Explanation",
    "FoundPatterns",
    "FoundTrajectory",
    "Gate",
    "GateConfig",
    "Influence",
    "IngestConfig",
    "InstantLoop",
    "Interpolation",
    "InvalidValue",
    "LearnedPattern",
    "LearningConflict",
    "LearningError",
    "LearningSignal",
    "LoopConfig",
    "LoopCoordinator",
    "MaintenanceConfig",
    "MemoryEdge",
    "MemoryGraphError",
    "MemoryNode",
    "MicroConfig",
    "MicroLoRA",
    "NodeKind",
    "NotFound",
    "ParameterEvidence",
    "PatternConfig",
    "PatternExtractionError",
    "PolicyEstimate",
    "PolicyEvaluation",
    "QueryTrajectory",
    "Ranking",
    "ReasoningBank",
    "RebuildResult",
    "Receipt",
    "ReembedResult",
    "Response",
    "RollbackResult",
    "RouteRecord",
    "SchemaError",
    "SearchResult",
    "SettingsConflict",
    "SonaConfig",
    "SonaEngine",
    "SonaEngineBuilder",
    "SonaError",
    "SpaceExists",
    "SpaceFigures",
    "SpaceRemoved",
    "SpaceSummary",
    "StorageError",
    "Store",
    "StoredContent",
    "StoredVersion",
    "StrayedFeedback",
    "Topic",
    "Trajectory",
    "TrajectoryBuffer",
    "TrajectoryBuilder",
    "TrajectoryError",
    "TrajectoryStep",
    "Unavailable",
    "UnknownCandidate",
    "UnknownSpace",
    "UnknownVersion",
    "UnsoundVersion",
    "VerdictCounts",
    "VersionDifference",
    "__version__",
]

_HOMES = {
    "sona_pg._version": ("__version__",),
    "sona_pg.config": (
        "BaseConfig",
        "CostConfig",
        "DreamConfig",
        "EwcConfig",
        "GateConfig",
        "IngestConfig",
        "LoopConfig",
        "MaintenanceConfig",
        "MicroConfig",
        "PatternConfig",
        "SonaConfig",
    ),
    "sona_pg.domain.answer": (
        "Context",
        "Decision",
        "FoundPatterns",
        "FoundTrajectory",
        "Interpolation",
        "ParameterEvidence",
        "Ranking",
        "Response",
        "SearchResult",
    ),
    "sona_pg.domain.budget": ("BudgetStatus",),
    "sona_pg.domain.content": ("StoredContent",),
    "sona_pg.domain.influence": ("Explanation", "Influence"),
    "sona_pg.domain.verdict": ("VerdictCounts",),
    "sona_pg.domain.access": ("ApiKey",),
    "sona_pg.domain.act": ("Act",),
    "sona_pg.domain.erasure": (
        "Erasure",
        "ErasurePlan",
        "Receipt",
    ),
    "sona_pg.domain.version": (
        "RollbackResult",
        "StoredVersion",
        "VersionDifference",
    ),
    "sona_pg.engine.engine_builder": ("SonaEngineBuilder",),
    "sona_pg.worker.reembedding": ("ReembedResult",),
    "sona_pg.recorder": ("Trajectory",),
    "sona_pg.standalone.trajectory_builder": ("TrajectoryBuilder",),
    "sona_pg.domain.cycle": (
        "CycleResult",
        "RebuildResult",
    ),
    "sona_pg.domain.gate": ("Gate",),
    "sona_pg.domain.memory": ("Dream", "EdgeKind", "MemoryEdge", "MemoryNode", "NodeKind"),
    "sona_pg.domain.policy_estimate": ("PolicyEstimate", "PolicyEvaluation"),
    "sona_pg.domain.pattern": ("LearnedPattern", "RouteRecord"),
    "sona_pg.domain.trajectory": (
        "QueryTrajectory",
        "TrajectoryStep",
    ),
    "sona_pg.domain.space": ("SpaceSummary",),
    "sona_pg.domain.space_figures": ("SpaceFigures",),
    "sona_pg.domain.strayed_feedback": ("StrayedFeedback",),
    "sona_pg.domain.topic": ("Topic",),
    "sona_pg.engine": ("AsyncSonaEngine", "SonaEngine", "Store"),
    "sona_pg.errors": (
        "ConfigError",
        "Conflict",
        "DatabaseError",
        "DatabaseUnavailable",
        "DimensionMismatch",
        "InvalidValue",
        "LearningConflict",
        "LearningError",
        "MemoryGraphError",
        "NotFound",
        "PatternExtractionError",
        "SchemaError",
        "SettingsConflict",
        "SonaError",
        "SpaceExists",
        "SpaceRemoved",
        "StorageError",
        "TrajectoryError",
        "Unavailable",
        "UnknownCandidate",
        "UnknownSpace",
        "UnknownVersion",
        "UnsoundVersion",
    ),
    "sona_pg.learning.adapters.ewc": ("EwcPlusPlus",),
    "sona_pg.standalone.dream_engine": ("DreamEngine",),
    "sona_pg.standalone.lora": (
        "BaseLoRA",
        "MicroLoRA",
    ),
    "sona_pg.standalone.reasoning_bank": ("ReasoningBank",),
    "sona_pg.learning.adapters.signal": ("LearningSignal",),
    "sona_pg.worker.background": ("BackgroundLoop",),
    "sona_pg.standalone.trajectory_buffer": ("TrajectoryBuffer",),
    "sona_pg.worker.coordinator": ("LoopCoordinator",),
    "sona_pg.domain.deep_result": ("DeepResult",),
    "sona_pg.worker.deep_loop": ("DeepLoop",),
    "sona_pg.serving.instant": ("InstantLoop",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(_HOME_OF[name]), name)
    except ModuleNotFoundError as exc:
        if exc.name in ("sona_pg._kernels", "sona_pg._recorder"):
            from sona_pg.errors import SOURCE_TREE

            raise ImportError(SOURCE_TREE) from exc
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
