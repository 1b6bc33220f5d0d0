"""All settings of an engine in one frozen value, with presets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Self

from sona_pg.config.config_part import ConfigPart, require
from sona_pg.config.cost_part import CostConfig
from sona_pg.config.gate_part import GateConfig
from sona_pg.config.graph_parts import DreamConfig, GraphConfig
from sona_pg.config.learning_parts import BaseConfig, EwcConfig, MicroConfig, PatternConfig
from sona_pg.config.running_parts import IngestConfig, LoopConfig, MaintenanceConfig
from sona_pg.limits import MAX_DIM


@dataclass(frozen=True, slots=True)
class SonaConfig(ConfigPart):
    """All settings of an engine; every part is a frozen value of its own.

    ``SonaConfig()`` holds the defaults. ``config.replace(micro=...)`` returns a changed copy.
    """

    hidden_dim: int = 256
    micro: MicroConfig = field(default_factory=MicroConfig)
    base: BaseConfig = field(default_factory=BaseConfig)
    ewc: EwcConfig = field(default_factory=EwcConfig)
    patterns: PatternConfig = field(default_factory=PatternConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    dreams: DreamConfig = field(default_factory=DreamConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    costs: CostConfig = field(default_factory=CostConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    loops: LoopConfig = field(default_factory=LoopConfig)
    maintenance: MaintenanceConfig = field(default_factory=MaintenanceConfig)

    def __post_init__(self) -> None:
        require(
            isinstance(self.hidden_dim, int)
            and not isinstance(self.hidden_dim, bool)
            and 1 <= self.hidden_dim <= MAX_DIM,
            "hidden_dim",
            self.hidden_dim,
            f"a whole number from 1 to {MAX_DIM}",
        )

    def replace(self, **changes: Any) -> Self:
        """Return a copy with the named parts replaced."""
        made = dataclasses.replace(self, **changes)
        object.__setattr__(made, "_given", self.given | changes.keys())
        return made

    @classmethod
    def max_throughput(cls) -> Self:
        """Least work per request: small adapters, a long interval, a high quality bar."""
        return cls._preset(2, 4, 0.0125, 0.05, 2000, 100, 5_000, 7200, 0.4)

    @classmethod
    def max_quality(cls) -> Self:
        """Most learning: rank-16 base adapter, a short interval, a low quality bar."""
        return cls._preset(2, 16, 0.05, 0.1, 2000, 100, 20_000, 1800, 0.2)

    @classmethod
    def edge_deployment(cls) -> Self:
        """Least memory: rank-1 micro adapter, few patterns, a buffer of 200 trajectories."""
        return cls._preset(1, 4, 0.025, 0.05, 1000, 50, 200, 3600, 0.5)

    @classmethod
    def batch_processing(cls) -> Self:
        """For imports of a backlog: recording waits for room in the buffer."""
        preset = cls._preset(2, 8, 0.025, 0.05, 2000, 100, 10_000, 3600, 0.3)
        return preset.replace(ingest=dataclasses.replace(preset.ingest, when_full="wait"))

    @classmethod
    def _preset(
        cls,
        micro_rank: int,
        base_rank: int,
        micro_rate: float,
        base_rate: float,
        lambda_: float,
        clusters: int,
        capacity: int,
        interval: float,
        quality: float,
    ) -> Self:
        buffer_bytes = 4 << 20 if capacity <= 1000 else 64 << 20
        return cls(
            micro=MicroConfig(rank=micro_rank, learning_rate=micro_rate),
            base=BaseConfig(rank=base_rank, learning_rate=base_rate),
            ewc=EwcConfig(lambda_=lambda_),
            patterns=PatternConfig(clusters=clusters, quality_threshold=quality),
            ingest=IngestConfig(capacity=capacity, buffer_bytes=buffer_bytes),
            loops=LoopConfig(background_interval=interval),
        )
