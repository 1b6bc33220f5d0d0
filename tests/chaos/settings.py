"""Configuration shared by all processes of a run: learners of one space must agree, or a rebuild would differ."""

from __future__ import annotations

from sona_pg.config import (
    BaseConfig,
    Durability,
    EwcConfig,
    IngestConfig,
    LoopConfig,
    MaintenanceConfig,
    PatternConfig,
    SonaConfig,
)

DIM = 32
SPACE = "chaos"
CYCLES = 200  # automatic ones at most, however long the run: the rebuild at the end runs all of them again
KEEP_WEEKS = 26  # so that retention runs, and drops nothing: the clock that is behind is ten weeks behind
WEEK = 7 * 86_400  # seconds


def config(durability: Durability, *, learns: bool, seconds: float) -> SonaConfig:
    """Return the settings of one process in a run of ``seconds``."""
    return SonaConfig(
        hidden_dim=DIM,
        base=BaseConfig(rank=2, layers=2, passes=1),
        ewc=EwcConfig(sketch=8),
        patterns=PatternConfig(clusters=16, max_iterations=10),
        ingest=IngestConfig(durability=durability, flush_interval=0.02),
        loops=LoopConfig(
            background_interval=max(2.0, seconds / 30),
            shortest_interval=max(0.5, seconds / CYCLES),
            min_trajectories=50,
            automatic=learns,
            poll_interval=0.5,
            replay=512,
        ),
        maintenance=MaintenanceConfig(
            interval=min(20.0, max(2.0, seconds / 10)), keep_weeks=KEEP_WEEKS, grace_hours=0.0, memory_mb=16
        ),
    )
