"""Settings: frozen values, presets, and environment variables.

The learning settings of a space (``micro``, ``base``, ``ewc``, ``patterns``, and of ``loops`` all but ``automatic`` and
``poll_interval``) are kept with the space; the rest is a process's own. ``space_settings`` has the rules for conflicts.
"""

from sona_pg.config.cost_part import CostConfig
from sona_pg.config.environment import Environment, Migrate, lag_seconds, migrate_policy
from sona_pg.config.gate_part import GateConfig, GateMode
from sona_pg.config.graph_parts import DreamConfig, GraphConfig
from sona_pg.config.learning_parts import BaseConfig, EwcConfig, MicroConfig, PatternConfig
from sona_pg.config.running_parts import Durability, IngestConfig, LoopConfig, MaintenanceConfig, WhenFull
from sona_pg.config.sona_config import SonaConfig

__all__ = [
    "BaseConfig",
    "CostConfig",
    "DreamConfig",
    "Durability",
    "Environment",
    "EwcConfig",
    "GateConfig",
    "GateMode",
    "GraphConfig",
    "IngestConfig",
    "LoopConfig",
    "MaintenanceConfig",
    "MicroConfig",
    "Migrate",
    "PatternConfig",
    "SonaConfig",
    "WhenFull",
    "lag_seconds",
    "migrate_policy",
]
