"""Settings of the memory graph and of dreams over it."""

from __future__ import annotations

from dataclasses import dataclass

from sona_pg.config.config_part import ConfigPart, require, require_types


@dataclass(frozen=True, slots=True)
class GraphConfig(ConfigPart):
    """The memory graph that a space learns from its sessions."""

    nodes: int = 10_000  # beyond it the candidates and queries used least go; 0: no graph is learned
    degree: int = 16  # edges of one kind that leave a node
    half_life: float = 30.0  # days without use in which an edge loses half of its weight

    def __post_init__(self) -> None:
        require_types(self, "graph")
        require(0 <= self.nodes <= 1_000_000, "graph.nodes", self.nodes, "0 to 1,000,000")
        require(1 <= self.degree <= 1000, "graph.degree", self.degree, "1 to 1,000")
        require(0 < self.half_life <= 36_500, "graph.half_life", self.half_life, "days, above 0 to 36,500")


@dataclass(frozen=True, slots=True)
class DreamConfig(ConfigPart):
    """Loop C: its dreams, what makes one worth keeping, and when it runs."""

    count: int = 50  # dreams of one deep cycle
    path: int = 15  # nodes on a walk
    creative_jump: float = 0.3  # probability of leaving the edges
    restart: float = 0.1  # probability of going back to the start
    temperature: float = 1.0  # below 1 heavy edges are followed more surely, above 1 less
    novelty: float = 0.3  # weights of the three scores in a dream's quality
    coherence: float = 0.4
    utility: float = 0.3
    least_quality: float = 0.5  # a dream below joins nothing
    # Φ below which a dream joins nothing: a quarter of the dreams over LoCoMo's graphs pass (docs/memory-graph.md).
    least_integration: float = 0.1
    edge_weight: float = 0.1  # of an edge that a dream proposes
    exploration: float = 0.0  # share of starts and jumps that lean to sparse regions of the embedding space
    interval: float = 604_800.0  # seconds between automatic deep cycles
    budget: float = 600.0  # seconds that a deep cycle takes at most; the next one goes on where it ended

    def __post_init__(self) -> None:
        require_types(self, "dreams")
        require(0 <= self.count <= 100_000, "dreams.count", self.count, "0 to 100,000")
        require(2 <= self.path <= 1000, "dreams.path", self.path, "2 to 1,000")
        shares = ("creative_jump", "restart", "exploration", "edge_weight")
        for name in (*shares, "novelty", "coherence", "utility", "least_quality"):
            require(0 <= getattr(self, name) <= 1, f"dreams.{name}", getattr(self, name), "a number in [0, 1]")
        require(0.01 <= self.temperature <= 100, "dreams.temperature", self.temperature, "a number in [0.01, 100]")
        require(self.least_integration >= 0, "dreams.least_integration", self.least_integration, "0 or more")
        require(self.interval > 0, "dreams.interval", self.interval, "a positive number of seconds")
        require(self.budget > 0, "dreams.budget", self.budget, "a positive number of seconds")
