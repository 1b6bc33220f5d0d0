"""Options of the HTTP service."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sona_pg.config import IngestConfig, SonaConfig
from sona_pg.errors import ConfigError
from sona_pg.limits import MAX_DIM

# A batch of 5,000 trajectories arrives at once: the buffer takes several of them.
BUFFERED = SonaConfig(ingest=IngestConfig(capacity=100_000, buffer_bytes=256 << 20))


@dataclass(frozen=True, slots=True)
class Upstream:
    """A model behind an OpenAI-compatible API, which the proxy may choose."""

    url: str  # up to and with /v1
    model: str  # as the upstream calls it
    key: str | None = field(default=None, repr=False)  # sent as a bearer token
    cost: float | None = None  # estimated, of one request; needed for a budget
    timeout: float = 120.0  # seconds


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """What the service serves, and its limits."""

    space: str = "default"  # of requests that name none and come without a key
    dim: int = 256  # of that space, if it is made
    create: bool = True  # whether to make that space
    config: SonaConfig = BUFFERED  # of the engines
    require_keys: bool = False  # from every address; otherwise from all but this machine's own
    most_body: int = 16 << 20  # bytes of a request, also once it is decompressed
    most_dim: int = MAX_DIM  # of a space that is made
    most_batch: int = 5_000  # trajectories, facts or vectors of one request
    rate: float | None = None  # requests a second and key; None: as many as come
    origins: tuple[str, ...] = ()  # from which browsers may ask (CORS); none: no other than this one
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)  # of the proxy, by route
    budget: float | None = None  # mean cost of a request that the proxy keeps within
    # Scores of an OpenTelemetry evaluation, by its name, that mean quality 0 and 1; of others 0 and 1 do.
    evaluation_scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.dim <= self.most_dim <= MAX_DIM:
            raise ConfigError(f"dim={self.dim}, most_dim={self.most_dim}: expected 1 to {MAX_DIM}, dim within most_dim")
        if self.most_body < 1024 or self.most_batch < 1 or (self.rate is not None and self.rate <= 0):
            raise ConfigError("most_body, most_batch and rate must be positive, most_body at least 1024")
        for name, (low, high) in self.evaluation_scales.items():
            if not (math.isfinite(low) and math.isfinite(high)) or low == high:
                raise ConfigError(f"scale of evaluation {name!r} is {low} to {high}: expected two numbers that differ")
        if self.budget is not None and any(upstream.cost is None for upstream in self.upstreams.values()):
            raise ConfigError("a budget needs the cost of every upstream: say cost= for each")

    def replace(self, **changes: object) -> ServiceOptions:
        """Return these options with some changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]
